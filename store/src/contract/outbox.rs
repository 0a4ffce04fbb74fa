//! Events between their commit and their publication.

use bytes::Bytes;
use common::{event::EventId, order::OrderId, trace_context::TraceParent};
use jiff::Timestamp;

use super::Placed;
use crate::{StoreFault, columns::parse_event};

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
        }
    }

    /// The entry of an order that is read back from its columns.
    ///
    /// # Errors
    /// [`StoreFault::Database`] if the stored event cannot be read.
    pub(crate) fn stored(position: Position, body: Vec<u8>, traceparent: &str) -> Result<Self, StoreFault> {
        let event = parse_event(&body)?;
        let trace = TraceParent::parse(traceparent).unwrap_or_else(TraceParent::root);
        Ok(Self::new(position, &Placed::of(event, body, trace, None)))
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
    /// How many events now wait in its outbox in addition to its own.
    pub events: u64,
    /// The last position that was given to one of them.
    pub last: Position,
    /// Whether more can be taken over at once.
    pub more: bool,
}
