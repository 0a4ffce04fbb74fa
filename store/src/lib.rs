//! The store: orders, outbox, ledger, dead letters and idempotency keys, in one database.
//!
//! On the way of an order one [`writer`] owns all writing: whatever waits for the disk goes into one
//! transaction. Reading has a [`reader`] of its own. Both speak to a [`Backend`]. What operators and
//! clients ask beyond that goes over the [`desk`]. Only the backends know SQL.

#[cfg(test)]
mod conformance;
mod dead_letters;
mod areas;
mod desk;
mod fault;
mod sql;
mod columns;
mod opened;
mod order;
mod order_lists;
mod postgres;
mod reconciliation;
mod redrives;
mod room;
mod sqlite;
mod watch;
mod writer;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "a test that cannot have its database has failed")]
pub mod testing;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{
    destination::Name,
    event::OrderCreated,
    outcome::{Outcome, OutcomeStatus},
    status::{DeliveryStatus, OrderStatus, fold},
};
use jiff::Timestamp;

pub use areas::{Answer, Areas};
pub use dead_letters::{
    Archiving, Collected, Collection, Content, DeadLetter, DeadLetters, Filter, Group, Link, Opened, State,
};
pub use desk::Desk;
pub use desk::SweptOrders;
pub use fault::StoreFault;
pub use opened::{Behind, Store};
pub use order::{Idempotency, NotAccepted, OutboxEntry, Placed, Receipt};
pub use order_lists::{Change, Changed, OrderFilter, OrderLists, OrderPage};
pub use postgres::{Postgres, PostgresAddress, PostgresDesk};
pub use reconciliation::{Found, Mark, Overdue, Reconciliation};
pub use redrives::{
    Control, Controlled, Created, Plan, Progress, Redrive, RedriveStatus, Redrives, Refusal, Refused, Selection,
    Sending, Standing, Terms, Wish,
};
pub use room::{Room, Space};
pub use sqlite::{Sqlite, SqliteDesk};
pub use watch::{Watch, Watcher};
pub use writer::{Committed, WriterMetrics, Writes};

/// Where orders are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file, created if absent.
    Sqlite(PathBuf),
    /// A server, for any number of producers.
    Postgres(PostgresAddress),
}

impl Database {
    /// Where it is, if that is on a disk of this machine.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

/// The position of an order in the outbox, in the order in which this process committed them. Positions
/// ascend, and may leave gaps.
pub type Position = u64;

/// What goes into one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// Orders to accept.
    pub orders: Vec<Placed>,
    /// The broker has confirmed every event up to this position.
    pub published_up_to: Option<Position>,
    /// Outcomes for the ledger.
    pub outcomes: Vec<Outcome>,
}

/// What became of an order in a transaction that was committed.
#[derive(Debug)]
pub enum Acceptance {
    /// It is new, and waits in the outbox at this position.
    New(Position),
    /// Its key was seen before with the same request: this was the answer.
    Replayed(Receipt),
    /// Its key was seen before with another request.
    KeyReused,
}

/// What is known of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The order, as the event that was published of it.
    pub event: OrderCreated,
    /// Who was to be told when it was accepted.
    pub destinations: Vec<Name>,
    /// How deliveries of it ended.
    pub outcomes: Vec<Recorded>,
}

/// How a delivery ended, as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The end.
    pub outcome: Outcome,
    /// Whether it is pending again, because its dead letter is being sent again.
    pub redriving: bool,
}

impl Recorded {
    /// How far the delivery is: pending again while its dead letter is being sent again.
    #[must_use]
    pub fn status(&self) -> DeliveryStatus {
        match self.outcome.status {
            _ if self.redriving => DeliveryStatus::Pending,
            OutcomeStatus::Delivered => DeliveryStatus::Delivered,
            OutcomeStatus::DeadLettered => DeliveryStatus::DeadLettered,
        }
    }
}

impl Known {
    /// How far each delivery is, by destination: those asked for at acceptance, and any reported since.
    #[must_use]
    pub fn deliveries(&self) -> BTreeMap<&str, DeliveryStatus> {
        let pending = self.destinations.iter().map(|name| (name.as_str(), DeliveryStatus::Pending));
        let recorded = self.outcomes.iter().map(|recorded| (recorded.outcome.destination.as_str(), recorded.status()));
        pending.chain(recorded).collect()
    }

    /// How far the order is, over all its deliveries.
    #[must_use]
    pub fn status(&self) -> OrderStatus {
        fold(self.deliveries().into_values())
    }
}

/// How much waits in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many events.
    pub events: u64,
    /// The broker has confirmed every event up to this position.
    pub published_up_to: Position,
    /// The last position that was ever given; 0 before the first.
    pub last: Position,
    /// When the oldest was accepted.
    pub oldest_at: Option<Timestamp>,
}

/// What a producer has taken over from others that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// How many events now wait in its outbox beside its own.
    pub events: u64,
    /// The last position that was given to one of them.
    pub last: Position,
    /// Whether there is more at once.
    pub more: bool,
}

/// The connection of the writer.
pub trait Backend: Send + 'static {
    /// How often the writer has to call [`Backend::tick`].
    const TICK: Option<Duration> = None;

    /// Commits all of the batch, durably, or nothing of it. Returns what became of the orders, in the order
    /// of [`Batch::orders`].
    fn commit(&mut self, batch: &Batch) -> impl Future<Output = Result<Vec<Acceptance>, StoreFault>> + Send;

    /// Writes something that changes nothing, to see whether writing works again after a fault.
    fn probe(&mut self) -> impl Future<Output = Result<(), StoreFault>> + Send;

    /// Says that this producer lives, and takes over what others that have ended left in the outbox.
    fn tick(&mut self) -> impl Future<Output = Result<Adopted, StoreFault>> + Send {
        std::future::ready(Ok(Adopted::default()))
    }

    /// Says that this producer ends. What it left is for others, or for its next start.
    fn release(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// One truth from two reports of the same delivery: a worker that died between report and
/// settlement delivers again, and may find another end. What was delivered stays delivered, and
/// every attempt that was made is kept.
#[must_use]
pub fn merge(known: Outcome, reported: Outcome) -> Outcome {
    use common::outcome::{OutcomeStatus::Delivered, Reason::Unreported};
    let mut attempts = known.attempts.clone();
    attempts.extend(reported.attempts.iter().filter(|new| !known.attempts.contains(new)).cloned());
    attempts.sort_by_key(|attempt| attempt.at);
    let mut truth = match (known.status, reported.status) {
        (Delivered, Delivered) if reported.settled_at < known.settled_at => reported,
        (Delivered, _) => known,
        (_, Delivered) => reported,
        // Whoever saw it knows better than who only found it dead.
        _ if known.reason == Some(Unreported) => reported,
        _ if reported.reason == Some(Unreported) => known,
        _ if reported.settled_at > known.settled_at => reported,
        _ => known,
    };
    truth.attempts = attempts;
    truth
}

#[cfg(test)]
mod tests {
    use common::{
        event::EventId,
        order::{CorrelationId, OrderId},
        outcome::{Attempt, OutcomeStatus, Reason},
    };

    use super::*;

    fn outcome(status: OutcomeStatus, reason: Option<Reason>, at: &[i64]) -> Outcome {
        let time = |second: i64| Timestamp::from_second(second).unwrap();
        Outcome {
            event_id: EventId(uuid::Uuid::nil()),
            order_id: OrderId(uuid::Uuid::nil()),
            correlation_id: CorrelationId::parse("c".into()).unwrap(),
            destination: "inventory".parse().unwrap(),
            status,
            reason,
            attempts: at
                .iter()
                .map(|&second| Attempt { at: time(second), duration_ms: 1, status_code: Some(200), error: None })
                .collect(),
            settled_at: time(at.last().copied().unwrap_or_default()),
            dead_letter: None,
        }
    }

    #[test]
    fn a_repeated_report_changes_nothing() {
        let one = outcome(OutcomeStatus::Delivered, None, &[1, 2]);
        assert_eq!(merge(one.clone(), one.clone()), one);
    }

    #[test]
    fn what_was_delivered_stays_delivered_and_every_attempt_is_kept() {
        let delivered = outcome(OutcomeStatus::Delivered, None, &[1]);
        let dead = outcome(OutcomeStatus::DeadLettered, Some(Reason::Rejected), &[5, 6]);
        for (known, reported) in [(delivered.clone(), dead.clone()), (dead, delivered)] {
            let truth = merge(known, reported);
            assert_eq!((truth.status, truth.reason, truth.attempts.len()), (OutcomeStatus::Delivered, None, 3));
        }
    }

    #[test]
    fn of_two_dead_letters_the_later_one_is_told() {
        let early = outcome(OutcomeStatus::DeadLettered, Some(Reason::AttemptsExhausted), &[1]);
        let late = outcome(OutcomeStatus::DeadLettered, Some(Reason::Rejected), &[9]);
        for (known, reported) in [(early.clone(), late.clone()), (late, early)] {
            assert_eq!(merge(known, reported).reason, Some(Reason::Rejected));
        }
    }

    #[test]
    fn a_report_is_told_rather_than_that_there_was_none() {
        let report = outcome(OutcomeStatus::DeadLettered, Some(Reason::AttemptsExhausted), &[1]);
        let none = outcome(OutcomeStatus::DeadLettered, Some(Reason::Unreported), &[]);
        let none = Outcome { settled_at: Timestamp::from_second(9).unwrap(), ..none };
        for (known, reported) in [(report.clone(), none.clone()), (none, report.clone())] {
            assert_eq!(merge(known, reported), report);
        }
    }
}
