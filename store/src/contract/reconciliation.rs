//! What the store knows of deliveries that nothing may end any more.

use common::{destination::Name, order::OrderId};
use jiff::Timestamp;
use uuid::Uuid;

use super::Position;

/// How far the outbox of one producer is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The producer; nil in a database of one process.
    pub owner: Uuid,
    /// The broker has confirmed every event up to this position.
    pub up_to: Position,
}

/// A delivery that is pending, and should have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// `None` if a dead letter that is sent again names no order.
    pub order_id: Option<OrderId>,
    pub destination: Name,
    /// When the order was accepted, or the dead letter sent again.
    pub since: Timestamp,
    /// The dead letter that was sent again.
    pub dead_letter: Option<Uuid>,
}

/// The overdue deliveries that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The oldest, at most as many as were asked for.
    pub overdue: Vec<Overdue>,
    /// How many there are in all.
    pub total: u64,
}
