//! What a worker logs about deliveries and its circuit.

use super::circuit::Change;
use crate::{destination::Name, outcome::Outcome};

/// The end of a delivery. A dead letter is worth a warning; a success is not, at a thousand per second.
pub(super) fn ended(outcome: &Outcome) {
    let (order_id, correlation_id) = (outcome.order_id, &outcome.correlation_id);
    let attempts = outcome.attempts.len();
    match &outcome.reason {
        None => tracing::debug!(%order_id, %correlation_id, attempts, "delivered"),
        Some(reason) => {
            let last = outcome.attempts.last();
            tracing::warn!(
                %order_id, %correlation_id, attempts, reason = reason.as_str(),
                status_code = last.and_then(|attempt| attempt.status_code),
                error = last.and_then(|attempt| attempt.error.as_deref()),
                "dead-lettered"
            );
        }
    }
}

/// A change of the circuit.
pub(super) fn circuit(destination: &Name, change: Change, reason: Option<&str>) {
    match change {
        Change::Opened(pause) => {
            let seconds = pause.as_secs_f64();
            tracing::warn!(%destination, reason, seconds, "circuit open: no calls until the next probe");
        }
        Change::Recovering => tracing::info!(%destination, "circuit half-open: probing"),
        Change::Closed => tracing::info!(%destination, "circuit closed: the API works again"),
    }
}
