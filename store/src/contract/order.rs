//! The order as the store knows it: placed with its idempotency key, and answered by a receipt.

use std::time::Duration;

use bytes::Bytes;
use common::{
    destination::Name,
    event::{EventId, OrderCreated},
    order::{CorrelationId, CustomerId, OrderId},
    trace_context::TraceParent,
};
use jiff::{SignedDuration, Timestamp};

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

    /// An order with its encoded event.
    pub(super) fn of(event: OrderCreated, body: Vec<u8>, trace: TraceParent, idempotency: Option<Idempotency>) -> Self {
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

/// The client's `Idempotency-Key` and what it was first used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// What the key is for: empty for orders, `redrives` for redrives. A key means nothing outside its scope.
    pub scope: String,
    /// 1 to 255 visible ASCII characters, without quotes.
    pub key: String,
    /// SHA-256 over the request. The same key with another request is a mistake of the client.
    pub fingerprint: [u8; 32],
    /// The fingerprint that an earlier version of this program stored for the same request, if it differs.
    pub earlier_fingerprint: Option<[u8; 32]>,
    /// A key that was first used at this time or before has expired, and is as good as new.
    pub expired_up_to: Timestamp,
}

impl Idempotency {
    /// A key that is used at `now`, and is known if it was first used less than `ttl` ago.
    #[must_use]
    pub fn new(scope: &str, key: String, fingerprint: [u8; 32], now: Timestamp, ttl: Duration) -> Self {
        let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
        let expired_up_to = now.checked_sub(ttl).unwrap_or(Timestamp::MIN);
        Self { scope: scope.to_owned(), key, fingerprint, earlier_fingerprint: None, expired_up_to }
    }
}

/// An order that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub order_id: OrderId,
    /// Of the request that placed it first.
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
    /// Too many orders wait for the queue of this destination, which takes none. Nothing was stored.
    #[error("too many orders wait for the queue of {0}")]
    Behind(Name),
    /// The store failed, or did not answer in time.
    #[error("the store failed: {0}")]
    Store(String),
    /// The key was used for another request. Nothing was stored.
    #[error("the idempotency key was used for another request")]
    KeyReused,
}
