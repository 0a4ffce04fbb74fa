//! The relay: publishes what is in the outbox, and marks only what the broker has confirmed.
//!
//! One task owns the confirm channel and keeps hundreds of messages in flight. Publishing twice is
//! legal, skipping is not: whatever a lost session leaves unconfirmed is published again.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use common::{
    broker::{
        Broker, BrokerFault,
        publisher::{Message, Publisher, Target},
        supervisor::Session,
    },
    event::{self, OrderCreatedType},
    health::{self, Component},
    telemetry::metrics::{Metrics, seconds},
    timer,
};
use futures_util::{FutureExt as _, future::OptionFuture};
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{app::Context, outbox::Outbox};
use store::{Desk, OutboxEntry, Position, StoreFault, Writes};

/// Most messages in flight.
const WINDOW: usize = 512;
/// Most bytes in flight, give or take one message.
const WINDOW_BYTES: usize = 8 * 1_024 * 1_024;
/// How many events are read from the table at a time; the next page is asked for when half of one is
/// left, so that the window stays full.
const PAGE: u32 = 512;
/// The pause before a message that the broker refused (a queue is full) is published again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// The pause after the table could not be read.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long a mark waits for a transaction to ride along with. Losing it publishes once more.
const MARK_WITHIN: Duration = Duration::from_millis(50);

/// What the relay counts.
#[derive(Clone, Debug)]
struct RelayMetrics {
    published: Counter,
    refused: Counter,
    returned: Counter,
    confirm_seconds: Histogram,
    accepted_to_published_seconds: Histogram,
}

impl RelayMetrics {
    fn register(metrics: &Metrics) -> Self {
        let this = Self {
            published: Counter::default(),
            refused: Counter::default(),
            returned: Counter::default(),
            confirm_seconds: seconds(),
            accepted_to_published_seconds: seconds(),
        };
        metrics.register(|registry| {
            registry.register("events_published", "Events that the broker confirmed", this.published.clone());
            registry.register(
                "events_refused",
                "Events that the broker refused; published again",
                this.refused.clone(),
            );
            registry.register("events_returned", "Events that found no queue; published again", this.returned.clone());
            registry.register(
                "confirm_seconds",
                "From publishing an event to its confirm",
                this.confirm_seconds.clone(),
            );
            registry.register(
                "accepted_to_published_seconds",
                "From the acceptance of an order to the confirm of its event",
                this.accepted_to_published_seconds.clone(),
            );
        });
        this
    }
}

/// The relay, over as many sessions with the broker as it takes.
pub(crate) struct Relay {
    broker: Broker,
    grace: Duration,
    outbox: Arc<Outbox>,
    desk: Desk,
    writes: Writes,
    metrics: RelayMetrics,
    /// The last event that was taken from the outbox.
    taken: Position,
    /// Taken and to be published, in the order of their positions.
    waiting: VecDeque<OutboxEntry>,
    /// Published and not confirmed.
    in_flight: BTreeMap<Position, (OutboxEntry, Instant)>,
    bytes_in_flight: usize,
    /// How many may be in flight: one after a refusal, until one is confirmed.
    window: usize,
    /// When publishing goes on after a refusal.
    retry_at: Option<Instant>,
    /// Why the table cannot be read at present.
    read_fault: Option<StoreFault>,
    /// When marks are committed even without a transaction to ride along with.
    mark_at: Option<Instant>,
}

impl Relay {
    /// A relay that begins after `taken`: everything later in the outbox is to be published.
    #[must_use]
    pub(crate) fn new(context: &Context, taken: Position) -> Self {
        Self {
            broker: context.broker.clone(),
            grace: context.grace,
            outbox: Arc::clone(&context.outbox),
            desk: context.desk.clone(),
            writes: context.writes.clone(),
            metrics: RelayMetrics::register(&context.metrics),
            taken,
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
            bytes_in_flight: 0,
            window: WINDOW,
            retry_at: None,
            read_fault: None,
            mark_at: None,
        }
    }

    async fn publish(
        &mut self,
        publisher: &mut Publisher<Position>,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> Result<(), BrokerFault> {
        let outbox = Arc::clone(&self.outbox);
        let desk = self.desk.clone();
        let mut page = OptionFuture::<Pin<Box<dyn Future<Output = Result<Page, StoreFault>> + Send>>>::default();
        let mut reading = false;
        let mut health_tick = health::ticks();
        loop {
            self.fill(publisher);
            // The next page is read while half of one is still to be published.
            if !reading
                && self.retry_at.is_none()
                && self.waiting.len() < PAGE as usize / 2
                && outbox.in_table(self.taken)
            {
                reading = true;
                page = Some(read_page(desk.clone(), self.taken, outbox.committed()).boxed()).into();
            }
            let (retry_at, mark_at) = (self.retry_at, self.mark_at);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                // Before the rest: a busy relay must not look dead.
                _ = health_tick.tick() => {
                    publisher.check()?;
                    self.report_health(component, publisher.blocked());
                }
                resolved = publisher.resolved() => {
                    let resolved = resolved?;
                    self.resolve(&resolved.confirmed);
                    self.refuse(&resolved.refused);
                }
                () = outbox.handed_over() => {}
                Some(read) = &mut page, if reading => {
                    reading = false;
                    self.take_page(read);
                }
                () = timer::at(retry_at) => {
                    self.retry_at = None;
                }
                () = timer::at(mark_at) => self.mark(),
            }
        }
    }

    /// Publishes until the window is full, or nothing more is in memory.
    fn fill(&mut self, publisher: &mut Publisher<Position>) {
        // After a refusal nothing is published until the pause is over, and then one event to see: each
        // one that a full queue refuses reaches the other queues all the same.
        if self.retry_at.is_some() {
            return;
        }
        while publisher.in_flight() < self.window && self.bytes_in_flight < WINDOW_BYTES {
            let entry = match self.waiting.pop_front() {
                Some(entry) => entry,
                None => match self.outbox.next(self.taken) {
                    Some(entry) => {
                        self.taken = entry.position;
                        entry
                    }
                    None => return,
                },
            };
            let message = Message {
                correlation_id: Some(entry.correlation_id.clone()),
                trace: Some(entry.trace),
                ..Message::new(entry.event_id.0, OrderCreatedType::VALUE, entry.body.clone())
            };
            publisher.publish(&Target::FanOut, message, entry.position);
            self.bytes_in_flight += entry.body.len();
            self.in_flight.insert(entry.position, (entry, Instant::now()));
        }
    }

    fn resolve(&mut self, confirmed: &[Position]) {
        if confirmed.is_empty() {
            return;
        }
        self.window = WINDOW;
        let now = event::now().as_microsecond();
        for position in confirmed {
            if let Some((entry, published_at)) = self.in_flight.remove(position) {
                self.bytes_in_flight -= entry.body.len();
                self.metrics.confirm_seconds.observe(published_at.elapsed().as_secs_f64());
                let micros = u64::try_from(now - entry.accepted_at.as_microsecond()).unwrap_or(0);
                self.metrics.accepted_to_published_seconds.observe(Duration::from_micros(micros).as_secs_f64());
                tracing::debug!(
                    order_id = %entry.order_id, correlation_id = entry.correlation_id, "published"
                );
            }
        }
        self.metrics.published.inc_by(confirmed.len() as u64);
        self.outbox.published(confirmed.len());
        self.see_whether_all_is_published();
        // The mark rides along with the next transaction, which under load comes within a millisecond.
        self.writes.published(self.published_up_to());
        self.mark_at.get_or_insert_with(|| Instant::now() + MARK_WITHIN);
    }

    /// The broker has confirmed every event up to this position.
    fn published_up_to(&self) -> Position {
        let in_flight = self.in_flight.keys().next().copied();
        let waiting = self.waiting.front().map(|entry| entry.position);
        let first = [in_flight, waiting].into_iter().flatten().min();
        first.map_or(self.taken, |first| first - 1)
    }

    fn see_whether_all_is_published(&self) {
        if self.in_flight.is_empty() && self.waiting.is_empty() {
            self.outbox.all_published(self.taken);
        }
    }

    fn refuse(&mut self, refused: &[Position]) {
        if refused.is_empty() {
            return;
        }
        self.metrics.refused.inc_by(refused.len() as u64);
        for (entry, _) in refused.iter().filter_map(|position| self.in_flight.remove(position)) {
            self.bytes_in_flight -= entry.body.len();
            // In the order of commits, before all that was never published.
            let index = self.waiting.partition_point(|waiting| waiting.position < entry.position);
            self.waiting.insert(index, entry);
        }
        self.window = 1;
        self.retry_at.get_or_insert_with(|| Instant::now() + REFUSED_PAUSE);
        tracing::warn!(events = refused.len(), "the broker refused events, a queue is full; publishing them again");
    }

    fn take_page(&mut self, read: Result<Page, StoreFault>) {
        match read {
            Ok(Page { entries, up_to }) => {
                self.read_fault = None;
                let last = entries.last().map(|entry| entry.position);
                let after = self.taken;
                self.waiting.extend(entries.into_iter().filter(|entry| entry.position > after));
                // An empty page says that everything up to the moment of asking is published.
                self.taken = self.taken.max(last.unwrap_or(up_to));
                self.see_whether_all_is_published();
            }
            Err(fault) => {
                if self.read_fault.as_ref() != Some(&fault) {
                    tracing::error!(%fault, "the outbox cannot be read, trying again");
                }
                self.read_fault = Some(fault);
            }
        }
    }

    /// Has the store commit what did not find a transaction to ride along with.
    fn mark(&mut self) {
        self.mark_at = self.writes.commit_marks().is_err().then(|| Instant::now() + MARK_WITHIN);
    }

    fn report_health(&self, component: &Component, blocked: bool) {
        if blocked {
            component.down("the broker accepts nothing from publishers at the moment (memory or disk alarm)");
        } else if self.window == 1 {
            component.down("the broker refuses events: a queue is full");
        } else if let Some(fault) = &self.read_fault {
            component.down(format!("the outbox cannot be read: {fault}"));
        } else {
            component.up();
        }
    }

    /// What a session left unconfirmed is published again, in the old order.
    fn session_lost(&mut self) {
        let unconfirmed = std::mem::take(&mut self.in_flight);
        self.bytes_in_flight = 0;
        self.waiting.extend(unconfirmed.into_values().map(|(entry, _)| entry));
        self.waiting.make_contiguous().sort_unstable_by_key(|entry| entry.position);
        self.retry_at = None;
        self.window = WINDOW;
    }

    /// Says what is published again, one line for each: an order is looked for by its ids.
    fn name_unconfirmed(&self) {
        for (entry, _) in self.in_flight.values() {
            let (order_id, correlation_id) = (entry.order_id, &entry.correlation_id);
            tracing::warn!(%order_id, correlation_id, "left unconfirmed, it is published again at the next start");
        }
        tracing::warn!(events = self.in_flight.len(), "left unconfirmed; they are published again at the next start");
    }

    /// Waits for the confirms of what is in flight, takes nothing new.
    async fn drain(&mut self, mut publisher: Publisher<Position>, component: &Component) -> Result<(), BrokerFault> {
        let deadline = Instant::now() + self.grace;
        let mut health_tick = health::ticks();
        component.down("draining");
        while publisher.in_flight() > 0 {
            tokio::select! {
                biased;
                resolved = publisher.resolved() => self.resolve(&resolved?.confirmed),
                () = sleep_until(deadline) => break,
                _ = health_tick.tick() => component.sign_of_life(),
            }
        }
        // Those that the broker refused are among them.
        if !self.in_flight.is_empty() {
            self.name_unconfirmed();
        }
        self.mark();
        publisher.close().await;
        Ok(())
    }
}

/// What the table holds after a position, and how far the outbox had got when it was asked.
struct Page {
    entries: Vec<OutboxEntry>,
    up_to: Position,
}

async fn read_page(desk: Desk, after: Position, up_to: Position) -> Result<Page, StoreFault> {
    match desk.outbox(after, PAGE).await {
        Ok(entries) => Ok(Page { entries, up_to }),
        Err(fault) => {
            tokio::time::sleep(STORE_PAUSE).await;
            Err(fault)
        }
    }
}

impl Session for Relay {
    async fn run(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        self.session_lost();
        let mut publisher = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            opened = Publisher::open(&self.broker) => opened?,
        };
        tracing::info!(exchange = self.broker.names().exchange(), "publishing");
        component.up();
        match self.publish(&mut publisher, component, shutdown).await {
            Ok(()) => self.drain(publisher, component).await,
            Err(fault) => {
                if let BrokerFault::Returned { message_ids } = &fault {
                    self.metrics.returned.inc_by(message_ids.len() as u64);
                    // One of them is enough to look into it; hundreds would make a line that nothing takes.
                    let of = |(entry, _): &&(OutboxEntry, Instant)| message_ids.contains(&entry.event_id.0.to_string());
                    let first = self.in_flight.values().find(of).map(|(entry, _)| entry);
                    tracing::error!(
                        events = message_ids.len(),
                        order_id = first.map(|entry| tracing::field::display(entry.order_id)),
                        correlation_id = first.map(|entry| entry.correlation_id.as_str()),
                        "events found no queue, this order's first; declaring again and publishing them again"
                    );
                }
                Err(fault)
            }
        }
    }
}
