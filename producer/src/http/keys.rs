//! The clients' idempotency keys: whether an order must have one, and how long keys are known.

use std::time::Duration;

use axum::http::HeaderMap;
use common::{event::now, order::CorrelationId};
use store::{Idempotency, Placed};

use super::{
    earlier_fingerprint::earlier_fingerprint,
    headers,
    new_redrive::NewRedrive,
    place_order::refused,
    problem::{IDEMPOTENCY_KEY_REQUIRED, Problem},
};
use crate::intake::{Caller, NewOrder};

/// The scope of redrives' keys, which are separate from those of orders.
const REDRIVES: &str = "redrives";

/// The rules for keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// How long a key is known.
    pub(super) ttl: Duration,
    /// Whether an order without a key is refused.
    pub(super) required: bool,
}

impl Keys {
    /// The key of a redrive.
    pub(super) fn of_redrive(&self, key: String, redrive: &NewRedrive) -> Idempotency {
        let idempotency = Idempotency::new(REDRIVES, key, redrive.fingerprint(), now(), self.ttl);
        Idempotency { earlier_fingerprint: Some(earlier_fingerprint(redrive)), ..idempotency }
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
        let caller = Caller { correlation_id: correlation_id.clone(), trace: headers::trace(headers), key };
        order.placed(caller, self.ttl).map_err(|reason| refused(reason, correlation_id))
    }
}
