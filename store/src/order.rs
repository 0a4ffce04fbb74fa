//! The order as the store knows it: placed with its idempotency key, accepted with a position in the
//! outbox, answered by a receipt.

use std::time::Duration;

use bytes::Bytes;
use common::{
    event::{EventId, OrderCreated},
    order::{CorrelationId, CustomerId, OrderId},
    trace_context::TraceParent,
};
use jiff::{SignedDuration, Timestamp};

use crate::{Position, StoreFault, columns::parse_event};

/// A valid order, ready to be stored: its event is encoded, once, and the columns are set apart.
#[derive(Debug)]
pub struct Placed {
    pub event_id: EventId,
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub correlation_id: CorrelationId,
    pub accepted_at: Timestamp,
    /// The caller's trace context.
    pub trace: TraceParent,
    /// What identifies a repetition of the request, if the client sent a key.
    pub idempotency: Option<Idempotency>,
    /// The encoded event, which holds the whole order.
    pub(crate) body: Bytes,
}

impl Placed {
    /// Encodes the event of an order. The items are kept in encoded form only, so that a waiting order
    /// takes up its bytes once.
    ///
    /// # Errors
    /// [`NotAccepted::Store`] if the event cannot be encoded, which no valid event causes.
    pub fn new(event: OrderCreated, trace: TraceParent, idempotency: Option<Idempotency>) -> Result<Self, NotAccepted> {
        let body = event.encode().map_err(|fault| NotAccepted::Store(format!("cannot encode an event: {fault}")))?;
        Ok(Self::of(event, body, trace, idempotency))
    }

    fn of(event: OrderCreated, body: Vec<u8>, trace: TraceParent, idempotency: Option<Idempotency>) -> Self {
        let OrderCreated { event_id, order_id, customer_id, correlation_id, occurred_at, .. } = event;
        let body = body.into();
        Self { event_id, order_id, customer_id, correlation_id, accepted_at: occurred_at, trace, idempotency, body }
    }

    /// The approximate memory it takes up, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.customer_id.as_str().len() + self.body.len()
    }

    /// The answer to the request that placed it.
    pub(crate) fn receipt(self) -> Receipt {
        Receipt { order_id: self.order_id, correlation_id: self.correlation_id, replayed: false }
    }
}

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

/// The client's `Idempotency-Key` and what it was first used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client that the key is known for; one for all while there is no authentication.
    pub scope: String,
    /// 1 to 255 visible ASCII characters, without quotes.
    pub key: String,
    /// SHA-256 over the request: the same key with another one is a mistake of the client.
    pub fingerprint: [u8; 32],
    /// The fingerprint that an earlier version of this program stored for the same request, if it differs.
    pub earlier_fingerprint: Option<[u8; 32]>,
    /// A key that was first used at this time or before has expired, and is as good as new.
    pub expired_up_to: Timestamp,
}

impl Idempotency {
    /// A key that is used at `now`, and was known if it was first used less than `ttl` ago.
    #[must_use]
    pub fn new(scope: &str, key: String, fingerprint: [u8; 32], now: Timestamp, ttl: Duration) -> Self {
        let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
        let expired_up_to = now.checked_sub(ttl).unwrap_or(Timestamp::MIN);
        Self { scope: scope.to_owned(), key, fingerprint, earlier_fingerprint: None, expired_up_to }
    }

    /// Whether the key was stored for the same request, by this version or an earlier one.
    #[must_use]
    pub fn matches(&self, stored: &[u8]) -> bool {
        self.fingerprint == stored || self.earlier_fingerprint.is_some_and(|earlier| earlier == stored)
    }
}

/// An order that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub order_id: OrderId,
    /// The request that placed it first.
    pub correlation_id: CorrelationId,
    /// Whether this is the answer to an earlier request with the same key.
    pub replayed: bool,
}

/// Why an order is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// Too many requests wait for the disk, or too many orders for the broker. Nothing was stored.
    #[error("too many orders are waiting")]
    Busy,
    /// The store failed, or did not answer in time.
    #[error("the store failed: {0}")]
    Store(String),
    /// The key was used for another request. Nothing was stored.
    #[error("the idempotency key was used for another request")]
    KeyReused,
}
