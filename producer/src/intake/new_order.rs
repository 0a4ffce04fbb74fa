//! How an order is born: what the client sent gets its ids, its time and its key.

use std::time::Duration;

use common::{
    event::{EventId, OrderCreated, OrderCreatedType, now},
    order::{CorrelationId, CustomerId, Items, OrderId},
    trace_context::TraceParent,
};
use store::{Idempotency, NotAccepted, Placed};

use crate::fingerprint::Fingerprint;

/// The scope of clients' keys: one for all clients, since none is authenticated.
const EVERYBODY: &str = "";

/// A valid order, as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    pub customer_id: CustomerId,
    pub items: Items,
}

/// The request that an order came with.
#[derive(Clone, Debug)]
pub struct Caller {
    pub correlation_id: CorrelationId,
    pub trace: TraceParent,
    /// The client's `Idempotency-Key`.
    pub key: Option<String>,
}

impl NewOrder {
    /// Makes the order: fresh ids, accepted now. A key first used longer than `key_ttl` ago has expired.
    ///
    /// # Errors
    /// [`NotAccepted::Store`] if the event cannot be encoded, which no valid order causes.
    pub fn placed(self, caller: Caller, key_ttl: Duration) -> Result<Placed, NotAccepted> {
        let occurred_at = now();
        let idempotency =
            caller.key.map(|key| Idempotency::new(EVERYBODY, key, self.fingerprint(), occurred_at, key_ttl));
        let event = OrderCreated {
            event_type: OrderCreatedType,
            event_id: EventId::fresh(),
            order_id: OrderId::new(),
            customer_id: self.customer_id,
            items: self.items,
            correlation_id: caller.correlation_id,
            occurred_at,
        };
        Placed::new(event, caller.trace, idempotency)
    }

    /// What identifies a repetition. A field added later enters only if it is set: an upgrade must not
    /// change the meaning of a key.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = Fingerprint::new("tandem order 1");
        fingerprint.add(self.customer_id.as_str());
        for item in self.items.as_slice() {
            fingerprint.add(item.product_id.as_str());
            fingerprint.add(&item.qty.get().to_string());
        }
        fingerprint.finish()
    }
}
