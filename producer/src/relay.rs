//! The relay: publishes what is in the outbox, and marks only what the broker has confirmed.
//!
//! One task owns the confirm channel and keeps hundreds of messages in flight. Publishing twice is
//! legal, skipping is not: whatever a lost session leaves unconfirmed is published again.
//!
//! While every queue takes what it is sent, one message to the exchange serves all destinations. A refused or missing
//! confirm does not say which queue it was; therefore the event is published again to each queue by itself, and the
//! destination whose queue refuses it, or does not confirm it while others do, falls behind: [`catch_up`] brings it up
//! with the others, which the relay goes on to serve.

mod metrics;
mod window;
mod calm;
mod page;
mod marker;
mod catch_up;

use std::{sync::Arc, time::Duration};

use common::{
    broker::{
        Broker, BrokerFault,
        publisher::{CONFIRM_TIMEOUT, Message, Publisher, Target},
        supervisor::Session,
    },
    event::{self, OrderCreatedType},
    health::{self, Component},
    timer,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::{
    calm::Calm,
    marker::Marker,
    page::{PAGE, Page, Reading},
    window::{Flight, Sent, To, Window},
};
pub(crate) use self::{catch_up::CatchUp, metrics::RelayMetrics};
use crate::{
    app::Context,
    outbox::{Outbox, lanes::Cause},
};
use store::{Desk, OutboxEntry, StoreFault};

/// After this long without a confirm it is found out which queue is silent.
const SLOW: Duration = Duration::from_secs(3);

/// The relay, over as many sessions with the broker as it takes.
pub(crate) struct Relay {
    broker: Broker,
    grace: Duration,
    outbox: Arc<Outbox>,
    desk: Desk,
    metrics: RelayMetrics,
    marker: Marker,
    /// The queue of each lane.
    queues: Vec<Target>,
    window: Window,
    calm: Calm,
    /// When each lane has confirmed an event by itself last.
    heard: Vec<Option<Instant>>,
    /// Whether an event that went to all queues without a confirm was published to each by itself since.
    probed: bool,
    /// The changes of the lanes that were seen.
    version: u64,
    /// Until when the broker blocked publishers, or nothing was published: what is older has not waited since.
    blocked_until: Instant,
    /// Whether the last session ended without an answer.
    unanswered: bool,
    /// Why the table cannot be read at present.
    read_fault: Option<StoreFault>,
}

impl Relay {
    /// A relay of what is in the outbox and not published.
    #[must_use]
    pub(crate) fn new(context: &Context, metrics: RelayMetrics) -> Self {
        let outbox = Arc::clone(&context.outbox);
        let names = context.broker.names();
        let mut calm = Calm::default();
        if outbox.lanes().any_behind() {
            calm.disturbed(Instant::now());
        }
        Self {
            broker: context.broker.clone(),
            grace: context.grace,
            desk: context.desk.clone(),
            metrics,
            marker: Marker::new(Arc::clone(&outbox), context.writes.clone()),
            queues: context.broker.destinations().iter().map(|name| Target::Queue(names.queue(name))).collect(),
            window: Window::new(outbox.lanes().published_by_relay()),
            calm,
            heard: vec![None; context.broker.destinations().len()],
            probed: false,
            version: 0,
            blocked_until: Instant::now(),
            unanswered: false,
            read_fault: None,
            outbox,
        }
    }

    async fn publish(
        &mut self,
        publisher: &mut Publisher<Sent>,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> Result<(), BrokerFault> {
        let outbox = Arc::clone(&self.outbox);
        let mut reading = Reading::default();
        let mut health_tick = health::ticks();
        loop {
            self.see_lanes();
            self.fill(publisher);
            // The next page is read while half of one is still to be published.
            if !reading.is_running() && self.window.waiting() < PAGE as usize / 2 && outbox.in_table(self.window.taken)
            {
                reading.start(&self.desk, None, self.window.taken, outbox.committed());
            }
            let mark_at = self.marker.at();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                // Before the rest: a busy relay must not look dead.
                _ = health_tick.tick() => {
                    publisher.check()?;
                    self.judge(publisher.blocked())?;
                    self.report_health(component, publisher.blocked());
                }
                resolved = publisher.resolved_at_last() => {
                    let resolved = resolved?;
                    self.resolve(&resolved.confirmed);
                    self.refuse(&resolved.refused);
                }
                () = outbox.handed_over() => {}
                read = reading.done() => self.take_page(read),
                () = timer::at(mark_at) => self.marker.commit(),
            }
        }
    }

    /// Publishes until the window is full, or nothing more is in memory.
    fn fill(&mut self, publisher: &mut Publisher<Sent>) {
        let together = self.calm.is_together();
        while let Some((entry, to)) = self.window.next(&self.outbox) {
            let position = entry.position;
            let to = match to {
                To::All if together => To::All,
                To::All => To::Each(self.outbox.lanes().with_relay(position)),
                To::Each(lanes) => To::Each(lanes.and(self.outbox.lanes().with_relay(position))),
            };
            match to {
                To::All => publisher.publish(&Target::FanOut, message(&entry), Sent { position, lane: None }),
                // It is for lanes alone that have fallen behind.
                To::Each(lanes) if lanes.is_empty() => {
                    self.done(1);
                    continue;
                }
                To::Each(lanes) => {
                    for lane in lanes.iter() {
                        if let Some(queue) = self.queues.get(lane) {
                            publisher.publish(queue, message(&entry), Sent { position, lane: Some(lane) });
                        }
                    }
                }
            }
            self.window.sent(entry, to);
        }
    }

    fn resolve(&mut self, confirmed: &[Sent]) {
        let now = Instant::now();
        let mut published = 0;
        for sent in confirmed {
            if let Some(heard) = sent.lane.and_then(|lane| self.heard.get_mut(lane)) {
                *heard = Some(now);
            }
            if let Some(flight) = self.window.confirmed(*sent) {
                self.observe(&flight);
                published += 1;
            }
        }
        if published > 0 {
            self.done(published);
        }
    }

    fn observe(&self, Flight { entry, published_at, .. }: &Flight) {
        self.metrics.published.inc();
        self.metrics.confirm_seconds.observe(published_at.elapsed().as_secs_f64());
        let micros = event::now().as_microsecond() - entry.accepted_at.as_microsecond();
        let micros = u64::try_from(micros).unwrap_or(0);
        self.metrics.accepted_to_published_seconds.observe(Duration::from_micros(micros).as_secs_f64());
        tracing::debug!(order_id = %entry.order_id, correlation_id = entry.correlation_id, "published");
    }

    /// Events are published to every lane that is with the relay.
    fn done(&mut self, events: usize) {
        self.outbox.published(events);
        self.see_whether_all_is_published();
        self.outbox.lanes().relay_published(self.window.published_up_to());
        self.marker.mark();
    }

    fn see_whether_all_is_published(&self) {
        if self.window.is_empty() {
            self.outbox.all_published(self.window.taken);
        }
    }

    fn refuse(&mut self, refused: &[Sent]) {
        if refused.is_empty() {
            return;
        }
        self.metrics.refused.inc_by(refused.len() as u64);
        self.calm.disturbed(Instant::now());
        for Sent { position, lane } in refused {
            match lane {
                None => self.window.apart(*position, self.outbox.lanes()),
                Some(lane) => self.falls_behind(*lane, Cause::Full),
            }
        }
        self.see_lanes();
    }

    fn falls_behind(&self, lane: usize, cause: Cause) {
        self.outbox.falls_behind(lane, self.window.complete_up_to(lane), cause);
    }

    /// Follows the lanes: one that has caught up joins, and one that is behind is not waited for.
    fn see_lanes(&mut self) {
        let version = self.outbox.lanes().version();
        if version == self.version {
            return;
        }
        self.version = version;
        self.outbox.lanes().let_join(self.window.taken);
        let done = self.window.see(self.outbox.lanes());
        done.iter().filter(|flight| flight.heard_of).for_each(|flight| self.observe(flight));
        self.done(done.len());
    }

    /// Finds out whether a queue is silent while others are not, and whether all are.
    ///
    /// # Errors
    /// [`BrokerFault::Overdue`]: nothing is confirmed.
    fn judge(&mut self, blocked: bool) -> Result<(), BrokerFault> {
        let now = Instant::now();
        if blocked {
            self.blocked_until = now;
            return Ok(());
        }
        let since = |published_at: Instant| published_at.max(self.blocked_until);
        let waited = |published_at: Instant| now.saturating_duration_since(since(published_at));
        if self.window.oldest().is_some_and(|oldest| waited(oldest) > CONFIRM_TIMEOUT) {
            return Err(Publisher::<Sent>::overdue());
        }
        let silent = |lane: &usize| {
            self.window.oldest_to(*lane).is_some_and(|oldest| {
                let others = self.heard.iter().enumerate().filter(|(other, _)| other != lane);
                waited(oldest) > SLOW && others.filter_map(|(_, heard)| *heard).any(|heard| heard > since(oldest))
            })
        };
        let silent: Vec<usize> = (0..self.queues.len()).filter(silent).collect();
        for lane in silent {
            self.falls_behind(lane, Cause::Silent);
        }
        let slow = if waited(self.blocked_until) > SLOW { self.window.slow(now, SLOW) } else { Vec::new() };
        if !slow.is_empty() {
            self.calm.disturbed(now);
        }
        // One event is enough to find out which queue it is; it may be one that others have bound to the exchange.
        let probing = self.window.is_probing();
        let known = self.outbox.lanes().any_behind() || self.probed && !probing;
        let most = if known { usize::MAX } else { usize::from(!probing) };
        self.probed = !slow.is_empty();
        for position in slow.into_iter().take(most) {
            self.window.apart(position, self.outbox.lanes());
        }
        if self.outbox.lanes().all_level(self.window.taken) {
            if self.calm.all_level(now) {
                tracing::info!("publishing to all destinations at once again");
            }
        } else {
            self.calm.disturbed(now);
        }
        Ok(())
    }

    fn take_page(&mut self, read: Result<Page, StoreFault>) {
        match read {
            Ok(Page { entries, up_to }) => {
                self.read_fault = None;
                // An empty page says that everything up to the moment of asking is published.
                let taken = entries.last().map_or(up_to, |entry| entry.position);
                self.window.take(entries, self.outbox.lanes());
                self.window.taken = self.window.taken.max(taken);
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

    fn report_health(&self, component: &Component, blocked: bool) {
        if blocked {
            component.down(BLOCKED);
        } else if let Some(fault) = &self.read_fault {
            component.down(format!("the outbox cannot be read: {fault}"));
        } else {
            component.up();
        }
    }

    /// Says what is published again, one line for each: an order is looked for by its ids.
    fn name_unconfirmed(&self) {
        for entry in self.window.unconfirmed() {
            let (order_id, correlation_id) = (entry.order_id, &entry.correlation_id);
            tracing::warn!(%order_id, correlation_id, "left unconfirmed, it is published again at the next start");
        }
        let events = self.window.in_flight();
        tracing::warn!(events, "left unconfirmed; they are published again at the next start");
    }

    /// Waits for the confirms of what is in flight, takes nothing new.
    async fn drain(&mut self, mut publisher: Publisher<Sent>, component: &Component) -> Result<(), BrokerFault> {
        let deadline = Instant::now() + self.grace;
        let mut health_tick = health::ticks();
        component.down("draining");
        while self.window.in_flight() > 0 {
            tokio::select! {
                biased;
                resolved = publisher.resolved_at_last() => {
                    let resolved = resolved?;
                    self.resolve(&resolved.confirmed);
                    self.refuse(&resolved.refused);
                }
                () = sleep_until(deadline) => break,
                _ = health_tick.tick() => component.sign_of_life(),
            }
        }
        if self.window.in_flight() > 0 {
            self.name_unconfirmed();
        }
        self.marker.commit();
        publisher.close().await;
        Ok(())
    }
}

/// What a component says while the broker blocks publishers.
const BLOCKED: &str = "the broker accepts nothing from publishers at the moment (memory or disk alarm)";

fn message(entry: &OutboxEntry) -> Message {
    Message {
        correlation_id: Some(entry.correlation_id.clone()),
        trace: Some(entry.trace),
        takes_waits: true,
        ..Message::new(entry.event_id.0, OrderCreatedType::VALUE, entry.body.clone())
    }
}

impl Session for Relay {
    async fn run(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        self.window.session_lost(std::mem::take(&mut self.unanswered));
        let mut publisher = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            opened = Publisher::open(&self.broker) => opened?,
        };
        self.blocked_until = Instant::now();
        tracing::info!(exchange = self.broker.names().exchange(), "publishing");
        component.up();
        match self.publish(&mut publisher, component, shutdown).await {
            Ok(()) => self.drain(publisher, component).await,
            Err(fault) => {
                self.unanswered = matches!(fault, BrokerFault::Overdue { .. });
                if let BrokerFault::Returned { message_ids } = &fault {
                    self.metrics.returned.inc_by(message_ids.len() as u64);
                    // One of them is enough to look into it; hundreds would make a line that nothing takes.
                    let of = |entry: &&OutboxEntry| message_ids.contains(&entry.event_id.0.to_string());
                    let first = self.window.unconfirmed().find(of);
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
