//! The collector: takes dead letters from their queues into the store, and acknowledges each only
//! after the commit, so that nothing waits where nobody looks.

mod letter;
mod metrics;

use std::{sync::Arc, time::Duration};

use common::{
    broker::{
        Broker, BrokerFault,
        consumer::Consumer,
        dead_letter::DeadLetter,
        delivery::{Settlement, Unsettled},
        supervisor::Session,
        topology::dead_letter_queue,
    },
    event::{Identity, now},
    health::{self, Component},
    origin::Origin,
    outcome::Reason,
    timer,
    word::Word,
};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use self::metrics::CollectorMetrics;
use store::{Collected, Collection, Desk};

use crate::{app::Context, watch::Watch};

/// Dead letters in hand at a time.
const PREFETCH: u16 = 64;
/// Bodies beyond this size, in bytes, are taken one at a time: the broker bounds how many messages it
/// sends, not their bytes, and a stranger's may be as large as the broker takes (16 MiB from RabbitMQ 4
/// on, 128 MiB before). Each is stored whole.
const LARGE: usize = 1_024 * 1_024;
/// After this many small ones in a row, they are taken many at a time again.
const SMALL_AGAIN: u32 = 16;
/// How long a dead letter waits for company.
const LINGER: Duration = Duration::from_millis(20);
/// The pause before the store is asked again: after a fault, or for a report that was not there.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The consumer of one dead-letter queue.
pub(crate) struct Collector {
    broker: Broker,
    /// Whose dead letters it takes.
    origin: Origin,
    grace: Duration,
    desk: Desk,
    watch: Watch,
    metrics: CollectorMetrics,
    pace: Pace,
}

/// How dead letters are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Pace {
    /// Many at a time.
    #[default]
    Many,
    /// One at a time, since a large one was seen; this many small ones have come since.
    Single {
        /// Small ones in a row.
        small: u32,
    },
}

impl Pace {
    fn prefetch(self) -> u16 {
        match self {
            Self::Many => PREFETCH,
            Self::Single { .. } => 1,
        }
    }

    /// The pace after a body of this size.
    fn after(self, size: usize) -> Self {
        match self {
            _ if size > LARGE => Self::Single { small: 0 },
            Self::Single { small } if small + 1 < SMALL_AGAIN => Self::Single { small: small + 1 },
            Self::Many | Self::Single { .. } => Self::Many,
        }
    }
}

/// A dead letter that is not stored yet.
struct InHand {
    unsettled: Unsettled,
    letter: Arc<Collected>,
}

/// What is in hand: new ones, and those that are asked for again later.
#[derive(Default)]
struct Hand {
    fresh: Vec<InHand>,
    due: Option<Instant>,
    later: Vec<InHand>,
    again_at: Option<Instant>,
    /// After a fault each is stored by itself, so that one which cannot be holds up no other.
    singly: bool,
}

impl Hand {
    fn len(&self) -> usize {
        self.fresh.len() + self.later.len()
    }

    fn put(&mut self, letter: InHand) {
        self.fresh.push(letter);
        self.due.get_or_insert_with(|| Instant::now() + LINGER);
    }

    fn put_off(&mut self, letter: InHand) {
        self.later.push(letter);
        self.again_at.get_or_insert_with(|| Instant::now() + ASK_AGAIN);
    }

    fn bring_back(&mut self) {
        self.fresh.append(&mut self.later);
        self.again_at = None;
        self.due = Some(Instant::now());
    }

    /// What is stored next.
    fn batch(&mut self) -> Vec<InHand> {
        let count = if self.singly { 1 } else { self.fresh.len() };
        let batch: Vec<_> = self.fresh.drain(..count.min(self.fresh.len())).collect();
        if self.fresh.is_empty() {
            self.due = None;
        }
        batch
    }
}

/// Why a session takes no more.
enum Stop {
    /// The process ends.
    Shutdown,
    /// The pace changes, and with it the prefetch.
    Pace,
}

impl Collector {
    /// A collector of the dead letters of this origin.
    #[must_use]
    pub(crate) fn new(context: &Context, origin: Origin, metrics: CollectorMetrics) -> Self {
        Self {
            broker: context.broker.for_another_queue(),
            origin,
            grace: context.grace,
            desk: context.desk.clone(),
            watch: context.watch.clone(),
            metrics,
            pace: Pace::default(),
        }
    }

    async fn take(
        &mut self,
        consumer: &mut Consumer,
        hand: &mut Hand,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> Result<Stop, BrokerFault> {
        let mut health_tick = health::ticks();
        let since = now();
        let mut fault = None;
        loop {
            consumer.flush();
            let [due, again_at, flush_at] = [hand.due, hand.again_at, consumer.flush_at()];
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(Stop::Shutdown),
                _ = health_tick.tick() => {
                    consumer.check()?;
                    match &fault {
                        None => component.up(),
                        Some(fault) => component.down(format!("dead letters cannot be stored: {fault}")),
                    }
                }
                () = timer::at(again_at) => hand.bring_back(),
                () = timer::at(due) => fault = self.store(consumer, hand).await.err(),
                taken = consumer.next_dead_letter(), if hand.len() < usize::from(PREFETCH) => {
                    let (unsettled, dead) = taken?;
                    if self.receive(unsettled, dead, hand, since) {
                        return Ok(Stop::Pace);
                    }
                }
                () = timer::at(flush_at) => {}
            }
        }
    }

    /// Takes in a dead letter. Returns whether the session must restart at another pace: what is
    /// in hand then goes back to the queue first, for much more of the same may be on its way.
    fn receive(&mut self, unsettled: Unsettled, dead: DeadLetter, hand: &mut Hand, since: Timestamp) -> bool {
        let before = self.pace;
        self.pace = before.after(dead.body.len());
        if before == Pace::Many && self.pace != Pace::Many {
            tracing::warn!(
                destination = %self.origin,
                bytes = dead.body.len(),
                "a large dead letter: they are taken one at a time for a while"
            );
            return true;
        }
        let letter = letter::read(dead, &self.origin, since, now());
        hand.put(InHand { unsettled, letter: Arc::new(letter) });
        if hand.len() >= usize::from(self.pace.prefetch()) {
            hand.due = Some(Instant::now());
        }
        before != Pace::Many && self.pace == Pace::Many
    }

    /// Stores what is due in one transaction, and has it acknowledged.
    async fn store(&self, consumer: &mut Consumer, hand: &mut Hand) -> Result<(), store::StoreFault> {
        let batch = hand.batch();
        let letters = batch.iter().map(|held| Arc::clone(&held.letter)).collect();
        let collections = match self.desk.collect(letters, now()).await {
            Ok(collections) => collections,
            Err(fault) => {
                tracing::error!(%fault, destination = %self.origin, dead_letters = batch.len(), "not stored, tried again");
                self.metrics.faults.inc();
                hand.singly = true;
                batch.into_iter().for_each(|held| hand.put_off(held));
                return Err(fault);
            }
        };
        hand.singly = hand.singly && !hand.fresh.is_empty();
        let mut changed = Vec::new();
        for (InHand { unsettled, letter }, collection) in batch.into_iter().zip(collections) {
            match collection {
                Collection::Waiting => {
                    hand.put_off(InHand { unsettled, letter });
                    continue;
                }
                Collection::Known => {}
                Collection::Stored { id, reason, changed: order_changed } => {
                    self.metrics.collected(&self.origin, &reason);
                    log_collected(id, &self.origin, &reason, letter.identity.as_ref());
                    let identity = letter.identity.as_ref();
                    changed.extend(identity.filter(|_| order_changed).map(|identity| identity.order_id));
                }
            }
            consumer.settle(unsettled, Settlement::Ack);
        }
        self.watch.changed(&changed);
        Ok(())
    }

    async fn drain(&self, mut consumer: Consumer, mut hand: Hand) {
        let deadline = Instant::now() + self.grace;
        consumer.cancel().await;
        hand.singly = false;
        if !hand.fresh.is_empty() && timeout_at(deadline, self.store(&mut consumer, &mut hand)).await.is_err() {
            tracing::warn!("the store did not answer in time");
        }
        if hand.len() > 0 {
            tracing::info!(destination = %self.origin, dead_letters = hand.len(), "left in their queue");
        }
        consumer.close().await;
    }
}

/// A worker has already warned of each dead letter that it made, so those are logged at debug only.
fn log_collected(id: Uuid, origin: &Origin, reason: &Word<Reason>, identity: Option<&Identity>) {
    let order_id = identity.map(|identity| tracing::field::display(identity.order_id));
    let correlation_id = identity.map(|identity| tracing::field::display(&identity.correlation_id));
    let (dead_letter, reason_word) = (tracing::field::display(id), reason.as_str());
    match reason.known() {
        // A newer worker has reported a reason that is not known here.
        None
        | Some(
            Reason::Rejected | Reason::AttemptsExhausted | Reason::WorkerPanic | Reason::Expired | Reason::Cancelled,
        ) => {
            tracing::debug!(dead_letter, destination = %origin, reason = reason_word, order_id, correlation_id, "collected");
        }
        Some(Reason::Unreadable | Reason::DeliveryLimit | Reason::Unreported) => {
            tracing::info!(dead_letter, destination = %origin, reason = reason_word, order_id, correlation_id, "collected");
        }
    }
}

impl Session for Collector {
    async fn run(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        loop {
            let queue = dead_letter_queue(&self.broker.names().queue_of(&self.origin));
            let prefetch = self.pace.prefetch();
            let mut consumer = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                opened = Consumer::open(&self.broker, queue, prefetch) => opened?,
            };
            component.up();
            let mut hand = Hand::default();
            self.metrics.up(&self.origin, true);
            let stop = self.take(&mut consumer, &mut hand, component, shutdown).await;
            self.metrics.up(&self.origin, false);
            match stop? {
                Stop::Pace => consumer.close().await,
                Stop::Shutdown => {
                    component.down("draining");
                    self.drain(consumer, hand).await;
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_ones_are_taken_singly_until_enough_small_ones_have_come() {
        let mut pace = Pace::Many.after(LARGE);
        assert_eq!(pace, Pace::Many);
        pace = pace.after(LARGE + 1);
        assert_eq!((pace, pace.prefetch()), (Pace::Single { small: 0 }, 1));
        for _ in 1..SMALL_AGAIN {
            pace = pace.after(1);
            assert_eq!(pace.prefetch(), 1);
        }
        assert_eq!(pace.after(LARGE + 1), Pace::Single { small: 0 });
        assert_eq!(pace.after(1), Pace::Many);
    }
}
