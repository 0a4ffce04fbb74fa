//! Reconciliation: what the store knows of deliveries that nothing may end any more.

use std::time::Duration;

use common::{destination::Name, order::OrderId};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Answer, OutboxEntry, Position};

/// How far one line of the outbox is published. Each producer has a line of its own; in a database of
/// one process there is one, without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The line.
    pub line: Uuid,
    /// The broker has confirmed every event up to this position of it.
    pub up_to: Position,
}

/// A delivery that is pending, and should have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The order; none where a dead letter that is sent again names none.
    pub order_id: Option<OrderId>,
    /// Whose delivery it is.
    pub destination: Name,
    /// When the order was accepted, or the dead letter sent again.
    pub since: Timestamp,
    /// The dead letter that was sent again.
    pub dead_letter: Option<Uuid>,
}

/// Those found, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The oldest, as many as were asked for.
    pub overdue: Vec<Overdue>,
    /// How many there are in all.
    pub total: u64,
}

/// What reconciliation asks.
pub trait Reconciliation {
    /// How far every line of the outbox is published.
    fn published_marks(&self) -> Answer<'_, Vec<Mark>>;

    /// Deliveries to this destination that are pending, not being sent again, and published up to these marks.
    fn pending_published(&self, destination: Name, marks: Vec<Mark>, limit: u32) -> Answer<'_, Found>;

    /// Deliveries of orders that were accepted before this time and are not published.
    fn pending_unpublished(&self, accepted_before: Timestamp, limit: u32) -> Answer<'_, Found>;

    /// Dead letters that were sent again to this destination before this time, and have not ended.
    fn pending_redriven(&self, destination: Name, sent_before: Timestamp, limit: u32) -> Answer<'_, Found>;

    /// The events of these orders, to be published again. An order that is not known is left out.
    fn events_of(&self, order_ids: Vec<OrderId>) -> Answer<'_, Vec<OutboxEntry>>;

    /// Has dead letters that were sent published again by the runner of redrives.
    fn send_redriven_again(&self, dead_letters: Vec<Uuid>) -> Answer<'_, ()>;

    /// Takes the right to do `what`, or keeps it, for so long: of several processes one has it at a time.
    /// Tells whether `holder` has it.
    fn lease(&self, what: &'static str, holder: Uuid, length: Duration) -> Answer<'_, bool>;

    /// Gives the right back.
    fn release(&self, what: &'static str, holder: Uuid) -> Answer<'_, ()>;
}
