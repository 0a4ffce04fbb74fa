//! The clients' idempotency keys: whether they must be there, and how long they are known.

use std::time::Duration;

use axum::http::HeaderMap;
use common::{
    event::{EventId, OrderCreated, now},
    order::{CorrelationId, OrderId},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    headers,
    new_order::NewOrder,
    place_order::refused,
    problem::{IDEMPOTENCY_KEY_REQUIRED, Problem},
};
use store::{Idempotency, Placed};

/// The client that a key is known for, while all are one.
const EVERYBODY: &str = "";

/// The keys of redrives are no orders' keys.
const REDRIVES: &str = "redrives";

/// What is asked of keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// How long a key is known.
    pub(super) ttl: Duration,
    /// Whether an order without a key is refused.
    pub(super) required: bool,
}

impl Keys {
    /// The key of a redrive.
    pub(super) fn of_redrive(&self, key: String, fingerprint: [u8; 32]) -> Idempotency {
        Idempotency {
            scope: REDRIVES.to_owned(),
            key,
            fingerprint,
            earlier_fingerprint: None,
            expired_up_to: before(now(), self.ttl),
        }
    }

    /// The order that goes to intake.
    pub(super) fn placed(
        &self,
        order: NewOrder,
        key: Option<String>,
        correlation_id: &CorrelationId,
        headers: &HeaderMap,
    ) -> Result<Placed, Problem> {
        if self.required && key.is_none() {
            return Err(Problem::new(&IDEMPOTENCY_KEY_REQUIRED, "the order has no idempotency key"));
        }
        let occurred_at = now();
        let idempotency = key.map(|key| Idempotency {
            scope: EVERYBODY.to_owned(),
            key,
            fingerprint: order.fingerprint(),
            earlier_fingerprint: None,
            expired_up_to: before(occurred_at, self.ttl),
        });
        let NewOrder { customer_id, items } = order;
        let event = OrderCreated {
            event_id: EventId::fresh(),
            order_id: OrderId::new(),
            customer_id,
            items,
            correlation_id: correlation_id.clone(),
            occurred_at,
        };
        Placed::new(event, headers::trace(headers), idempotency).map_err(|reason| refused(reason, correlation_id))
    }
}

fn before(time: Timestamp, age: Duration) -> Timestamp {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    time.checked_sub(age).unwrap_or(Timestamp::MIN)
}
