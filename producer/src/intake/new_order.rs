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
pub(crate) struct NewOrder {
    pub customer_id: CustomerId,
    pub items: Items,
}

/// The request that an order came with.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
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
    pub(crate) fn placed(self, caller: Caller, key_ttl: Duration) -> Result<Placed, NotAccepted> {
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
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = Fingerprint::new("tandem order 1");
        fingerprint.add(self.customer_id.as_str());
        for item in self.items.as_slice() {
            fingerprint.add(item.product_id.as_str());
            fingerprint.add(&item.qty.get().to_string());
        }
        fingerprint.finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(customer_id: &str, items: &[(&str, u32)]) -> NewOrder {
        let items: Vec<_> =
            items.iter().map(|(product_id, qty)| json!({"product_id": product_id, "qty": qty})).collect();
        NewOrder {
            customer_id: CustomerId::parse(customer_id.to_owned()).unwrap(),
            items: serde_json::from_value(items.into()).unwrap(),
        }
    }

    #[test]
    fn a_fingerprint_is_of_all_that_an_order_says() {
        let one = order("c", &[("p", 1), ("q", 2)]).fingerprint();
        assert_eq!(one, order("c", &[("p", 1), ("q", 2)]).fingerprint());
        for other in [
            order("d", &[("p", 1), ("q", 2)]),
            order("c", &[("q", 2), ("p", 1)]),
            order("c", &[("p", 1), ("q", 3)]),
            order("c", &[("p", 1)]),
            order("cp", &[("1", 1), ("q", 2)]),
        ] {
            assert_ne!(other.fingerprint(), one, "{other:?}");
        }
    }

    #[test]
    fn a_fingerprint_never_changes_because_it_outlives_the_version_that_computed_it() {
        let hex: String = order("c-1", &[("p-1", 2)]).fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "9e43bcbccfaaace952ee84fbb41561852a875532ad9dc1e8a4652b25d5a951d4");
    }

    #[test]
    fn a_key_is_known_for_its_time_to_live() {
        let (correlation_id, trace) = (CorrelationId::fresh(), TraceParent::root());
        let caller = Caller { correlation_id, trace, key: Some("k".to_owned()) };
        let placed = order("c", &[("p", 1)]).placed(caller, Duration::from_secs(24 * 3_600)).unwrap();
        let expired_up_to = placed.idempotency.unwrap().expired_up_to;
        assert_eq!(expired_up_to + jiff::SignedDuration::from_hours(24), placed.accepted_at);
    }
}
