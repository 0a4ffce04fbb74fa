//! The waker: publishes deliveries that have waited in the store when their wait is over, each to the one queue
//! of its destination, under its own key, with what is known of it.
//!
//! A wait is marked only after its confirm. Whatever a lost session or a killed process leaves unmarked is
//! published again, which is legal, and never skipped. Each destination has a waker of its own, so that a queue that
//! takes nothing holds up nobody else; of several producers one does its work at a time. What comes due together is
//! paced, so that it does not stand in front of fresh orders.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    broker::{
        Broker, BrokerFault,
        delivery::Resumed,
        publisher::{Message, Publisher, Target},
        supervisor::Session,
    },
    destination::Name,
    event::{OrderCreatedType, now},
    health::{self, Component},
    order::OrderId,
    timer,
};
use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use store::{Desk, DueWait, StoreFault};

use crate::app::Context;

/// At most this many that were published after a wait and have not ended, for each destination.
const UNDER_WAY: u32 = 256;
/// The longest sleep: another producer may have recorded a wait, or have left its work.
const LOOK: Duration = Duration::from_secs(2);
/// The shortest pause between two looks.
const TICK: Duration = Duration::from_millis(100);
/// A session without work is kept for this long.
const KEEP: Duration = Duration::from_secs(30);
/// How long one producer is taken to be alive after its last look.
const LEASE: Duration = Duration::from_secs(10);
/// The pause after the store has failed, or the broker has refused a message (a queue is full).
const PAUSE: Duration = Duration::from_secs(1);

/// Tells wakers that waits have begun. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Begun(Arc<BTreeMap<Name, Notify>>);

impl Begun {
    /// For the wakers of these destinations.
    #[must_use]
    pub(crate) fn new(destinations: &[Name]) -> Self {
        Self(Arc::new(destinations.iter().map(|name| (name.clone(), Notify::new())).collect()))
    }

    /// Waits for this destination have begun.
    pub(crate) fn at(&self, destination: &Name) {
        if let Some(waker) = self.0.get(destination) {
            waker.notify_one();
        }
    }

    async fn notified(&self, destination: &Name) {
        match self.0.get(destination) {
            Some(waker) => waker.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// Publishes what has waited for one destination.
pub(crate) struct Waker {
    broker: Broker,
    destination: Name,
    grace: Duration,
    desk: Desk,
    begun: Begun,
    /// Rises with whatever is recorded, and so with the end of what is under way.
    recorded: watch::Receiver<u64>,
    /// Names this process where several want to do the work.
    id: Uuid,
    /// Why the store cannot be asked at present.
    fault: Option<StoreFault>,
}

/// What a look at the waits found.
enum Look {
    /// These are to be published now.
    Due(Vec<DueWait>),
    /// More are over, and as many as may be are under way.
    Full,
    /// None is over before this time, as far as is known.
    Nothing(Option<Timestamp>),
}

/// What is published, until it is marked.
type Token = (OrderId, Timestamp);

impl Waker {
    /// A waker for one of the broker's destinations.
    #[must_use]
    pub(crate) fn new(context: &Context, destination: Name) -> Self {
        Self {
            broker: context.broker.for_another_queue(),
            destination,
            grace: context.grace,
            desk: context.desk.clone(),
            begun: context.begun.clone(),
            recorded: context.watch.any(),
            id: Uuid::now_v7(),
            fault: None,
        }
    }

    fn lease(&self) -> String {
        format!("waits {}", self.destination)
    }

    async fn look(&self) -> Result<Look, StoreFault> {
        let at = now();
        let next = self.desk.due_waits(self.destination.clone(), at, 0).await?.next;
        if next.is_none_or(|next| next > at) {
            return Ok(Look::Nothing(next));
        }
        if !self.desk.lease(&self.lease(), self.id, LEASE).await? {
            return Ok(Look::Nothing(None));
        }
        // What another producer published before it gave up the lease is marked by now.
        let due = self.desk.due_waits(self.destination.clone(), at, UNDER_WAY).await?.due;
        Ok(if due.is_empty() { Look::Full } else { Look::Due(due) })
    }

    /// Waits until something is to be published. `None` at shutdown, and if nothing is before `until`.
    async fn next(
        &mut self,
        until: Option<Instant>,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> Option<Vec<DueWait>> {
        loop {
            self.recorded.mark_unchanged();
            let looked = tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                looked = self.look() => looked,
            };
            match &looked {
                Ok(_) => {
                    self.fault = None;
                    component.up();
                }
                Err(fault) => self.store_failed(fault, component),
            }
            let (pause, full) = match looked {
                Ok(Look::Due(due)) => return Some(due),
                Ok(Look::Full) => (LOOK, true),
                Ok(Look::Nothing(next)) => (next.map_or(LOOK, pause_until), false),
                Err(_) => (PAUSE, false),
            };
            if until.is_some_and(|until| until <= Instant::now()) {
                return None;
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                () = self.begun.notified(&self.destination) => {}
                _ = self.recorded.changed(), if full => sleep(TICK).await,
                () = sleep(pause) => {}
            }
        }
    }

    fn store_failed(&mut self, fault: &StoreFault, component: &Component) {
        if self.fault.as_ref() != Some(fault) {
            tracing::error!(%fault, destination = %self.destination, "waits cannot be read, trying again");
        }
        component.down(format!("the store fails: {fault}"));
        self.fault = Some(fault.clone());
    }

    async fn work(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        // Without work there is no connection either.
        while self.next(None, component, shutdown).await.is_some() {
            let mut publisher = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                opened = Publisher::open(&self.broker) => opened?,
            };
            while let Some(due) = self.next(Some(Instant::now() + KEEP), component, shutdown).await {
                publisher.check()?;
                self.publish(&mut publisher, due, component, shutdown).await?;
            }
            publisher.close().await;
        }
        Ok(())
    }

    /// Publishes, waits for the confirms, and marks.
    async fn publish(
        &self,
        publisher: &mut Publisher<Token>,
        due: Vec<DueWait>,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> Result<(), BrokerFault> {
        let queue = Target::Queue(self.broker.names().queue(&self.destination));
        for wait in due {
            let token = (wait.order_id, wait.due);
            publisher.publish(&queue, message(wait), token);
        }
        let (mut confirmed, mut refused, mut deadline) = (Vec::new(), 0, None);
        let mut health_tick = health::ticks();
        let ended = loop {
            if publisher.in_flight() == 0 {
                break Ok(());
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if deadline.is_none() => deadline = Some(Instant::now() + self.grace),
                _ = health_tick.tick() => {
                    if publisher.blocked() {
                        component.down("the broker accepts nothing from publishers at the moment (memory or disk alarm)");
                    } else {
                        component.sign_of_life();
                    }
                }
                resolved = publisher.resolved() => match resolved {
                    Ok(resolved) => {
                        confirmed.extend(resolved.confirmed);
                        refused += resolved.refused.len();
                    }
                    Err(fault) => break Err(fault),
                },
                () = timer::at(deadline) => break Ok(()),
            }
        };
        // Also what was confirmed before the session was lost.
        self.mark(confirmed).await;
        if refused > 0 {
            tracing::warn!(deliveries = refused, destination = %self.destination, "refused, a queue is full; trying again");
            component.down("the broker refuses deliveries that have waited: a queue is full");
            let _ = timeout(PAUSE, shutdown.cancelled()).await;
        }
        ended
    }

    async fn mark(&self, confirmed: Vec<Token>) {
        let deliveries = confirmed.len();
        let waits = confirmed.into_iter().map(|(order_id, due)| (order_id, self.destination.clone(), due)).collect();
        if let Err(fault) = self.desk.release_waits(waits, now()).await {
            tracing::error!(%fault, deliveries, destination = %self.destination, "published and not marked: published again");
        }
    }
}

impl Session for Waker {
    async fn run(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        let ended = self.work(component, shutdown).await;
        // Also where the broker is not reached from here: another producer may reach it.
        if let Err(fault) = self.desk.release(&self.lease(), self.id).await {
            tracing::debug!(%fault, "another producer waits until the lease is over");
        }
        ended
    }
}

/// The pause until this time, not beyond the next look.
fn pause_until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now())).unwrap_or_default().clamp(TICK, LOOK)
}

fn message(wait: DueWait) -> Message {
    let DueWait { event_id, dead_letter, correlation_id, trace, spent, unanswered, retry_until, body, .. } = wait;
    Message {
        correlation_id: Some(correlation_id),
        trace,
        takes_waits: true,
        resumed: Some(Resumed { spent, unanswered, retry_until }),
        dead_letter,
        ..Message::new(event_id.0, OrderCreatedType::VALUE, body)
    }
}
