//! The order as the store knows it: accepted with its idempotency key, answered by a receipt.

use common::{
    event::OrderCreated,
    order::{CorrelationId, Item, OrderId},
    trace_context::TraceParent,
};
use jiff::Timestamp;

use crate::room::Room;

/// A well-formed order that wants to be accepted.
#[derive(Debug)]
pub struct Placed {
    /// The event that will be published, which holds the whole order.
    pub event: OrderCreated,
    /// The caller, for the trace.
    pub trace: TraceParent,
    /// What makes a repetition of the request recognisable, where the client sent a key.
    pub idempotency: Option<Idempotency>,
    /// The room that it takes up while it waits for the disk; intake sees to it.
    pub room: Room,
}

impl Placed {
    /// The memory it holds, in bytes, near enough.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let OrderCreated { customer_id, items, .. } = &self.event;
        let items = items.as_slice();
        size_of::<Self>()
            + customer_id.as_str().len()
            + size_of_val(items)
            + items.iter().map(|Item { product_id, .. }| product_id.as_str().len()).sum::<usize>()
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
