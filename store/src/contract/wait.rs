//! Deliveries that wait in the store for their next attempt.

use bytes::Bytes;
use common::{destination::Name, event::EventId, order::OrderId, outcome::OutcomeStatus, trace_context::TraceParent};
use jiff::Timestamp;
use uuid::Uuid;

/// A wait that is over.
#[derive(Clone, Debug)]
pub struct DueWait {
    pub order_id: OrderId,
    pub destination: Name,
    pub event_id: EventId,
    /// The dead letter that the delivery redrives, if any.
    pub dead_letter: Option<Uuid>,
    pub correlation_id: String,
    pub trace: Option<TraceParent>,
    /// When it was to be attempted again. It tells this wait from a later one of the same delivery.
    pub due: Timestamp,
    /// How many of its attempts count.
    pub spent: u32,
    /// Whether an attempt had no answer.
    pub unanswered: bool,
    /// When the delivery expires.
    pub retry_until: Timestamp,
    /// The body of the message, unchanged.
    pub body: Bytes,
}

/// The waits of one destination that are over, and what comes after them.
#[derive(Clone, Debug, Default)]
pub struct DueWaits {
    /// Those that may be published now, longest overdue first.
    pub due: Vec<DueWait>,
    /// How many that were published before have not ended.
    pub under_way: u32,
    /// When the first of all others that are not published is over.
    pub next: Option<Timestamp>,
}

/// What came of ending the wait of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steered {
    /// It is done.
    Done,
    /// The delivery does not wait in the store: it is in a queue, or with a worker.
    UnderWay,
    /// It has ended like this.
    Ended(OutcomeStatus),
    /// There is no such order.
    UnknownOrder,
    /// The order is not delivered there.
    UnknownDestination,
}
