//! Events between their commit and their publication.

use bytes::Bytes;
use common::{
    destination::Name,
    event::{self, EventId},
    order::OrderId,
    trace_context::TraceParent,
};
use jiff::Timestamp;

use super::Placed;

/// The position of an order in the outbox, in the order in which this process committed them. Positions
/// ascend, and may leave gaps.
pub type Position = u64;

/// An event in the outbox.
#[derive(Clone, Debug)]
pub struct OutboxEntry {
    pub position: Position,
    /// Becomes the id of the message.
    pub event_id: EventId,
    pub order_id: OrderId,
    pub correlation_id: String,
    /// The caller's trace context.
    pub trace: TraceParent,
    pub accepted_at: Timestamp,
    /// The bytes that go on the wire, the same in every repetition.
    pub body: Bytes,
    /// The destinations that may not have it yet; `None` for all that were configured when it was accepted.
    pub lacking: Option<Vec<Name>>,
}

impl OutboxEntry {
    /// The entry of an order that was stored at this position.
    pub(crate) fn new(position: Position, placed: &Placed) -> Self {
        Self {
            position,
            event_id: placed.event_id,
            order_id: placed.order_id,
            correlation_id: placed.correlation_id.as_str().to_owned(),
            trace: placed.trace,
            accepted_at: placed.accepted_at,
            body: placed.body.clone(),
            lacking: None,
        }
    }

    /// The entry of an order that is read back from its columns. An event that this version cannot read is published
    /// all the same: a worker may be able to, and otherwise it becomes a dead letter that is seen.
    pub(crate) fn stored(position: Position, order: StoredOrder) -> Self {
        let StoredOrder { order_id, accepted_at, body, traceparent } = order;
        let identity = event::identity(&body);
        Self {
            position,
            event_id: identity.as_ref().map_or(EventId(order_id.0), |identity| identity.event_id),
            order_id,
            correlation_id: identity.map(|identity| identity.correlation_id.to_string()).unwrap_or_default(),
            trace: TraceParent::parse(&traceparent).unwrap_or_else(TraceParent::root),
            accepted_at,
            body: body.into(),
            lacking: None,
        }
    }
}

/// The columns of an order that are published.
#[derive(Debug)]
pub(crate) struct StoredOrder {
    pub(crate) order_id: OrderId,
    pub(crate) accepted_at: Timestamp,
    pub(crate) body: Vec<u8>,
    pub(crate) traceparent: String,
}

/// How far the outbox is published to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneMark {
    pub destination: Name,
    /// Its queue has confirmed every event up to this position.
    pub up_to: Position,
}

/// How much waits in the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many events some destination has not got.
    pub events: u64,
    /// Every destination has every event up to this position.
    pub published_up_to: Position,
    /// The destinations that are further.
    pub lanes: Vec<LaneMark>,
    /// The last position that was ever given; 0 before the first.
    pub last: Position,
    /// When the oldest was accepted.
    pub oldest_at: Option<Timestamp>,
}

/// What a producer has taken over from others that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// How many events now wait in its outbox in addition to its own.
    pub events: u64,
    /// The last position that was given to one of them.
    pub last: Position,
    /// Whether more can be taken over at once.
    pub more: bool,
}
