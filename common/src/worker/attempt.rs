//! Attempt and back off: from a decoded order to the outcome of its delivery.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    deliveries::{DeliveryId, Ended},
    metrics::WorkerMetrics,
};
use crate::{
    destination::{Call, Destination, Name},
    event::{OrderCreated, now},
    http_client::{AttemptError, BODY_TIMEOUT, no_answer_within},
    idempotency,
    outcome::{Attempt, Outcome, OutcomeStatus, Reason, one_line},
    retry::RetryPolicy,
    trace_context::TraceParent,
};

/// How much longer than its deadline and the reading of a body an attempt may take before it is cut off.
const SLACK: Duration = Duration::from_millis(250);
/// The longest error that is kept, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// Everything that attempts need.
#[derive(Debug)]
pub(super) struct Attempts<D> {
    pub(super) destination: D,
    pub(super) name: Name,
    pub(super) retry: RetryPolicy,
    pub(super) metrics: WorkerMetrics,
    /// Cancelled when no further attempt may begin.
    pub(super) stop: CancellationToken,
}

impl<D: Destination> Attempts<D> {
    /// Attempts a delivery until the destination accepts it, rejects it, or no attempt is left.
    ///
    /// A panic in the destination's code ends this delivery and no other.
    pub(super) async fn run(
        self: Arc<Self>,
        order: Box<OrderCreated>,
        dead_letter: Option<Uuid>,
        trace: TraceParent,
    ) -> Ended {
        let mut attempts = Vec::with_capacity(1);
        let last = match AssertUnwindSafe(self.until_final(&order, trace, &mut attempts)).catch_unwind().await {
            Ok(Some(last)) => last,
            Ok(None) => return Ended::Interrupted(DeliveryId { event: order.event_id, dead_letter }),
            Err(_) => {
                // The call may have been made, so it counts.
                let error = Some("the worker's code for this destination panicked".to_owned());
                attempts.push(Attempt { at: now(), duration_ms: 0, status_code: None, error });
                Some(Reason::WorkerPanic)
            }
        };
        let outcome = Outcome {
            event_id: order.event_id,
            order_id: order.order_id,
            correlation_id: order.correlation_id,
            destination: self.name.clone(),
            status: if last.is_none() { OutcomeStatus::Delivered } else { OutcomeStatus::DeadLettered },
            reason: last,
            attempts,
            settled_at: now(),
            dead_letter,
        };
        self.metrics.finished(&outcome, order.occurred_at);
        log(&outcome);
        Ended::Finished(Arc::new(outcome))
    }

    /// The reason of the failure, or `Some(None)` after a success; `None` if interrupted.
    async fn until_final(
        &self,
        order: &OrderCreated,
        trace: TraceParent,
        attempts: &mut Vec<Attempt>,
    ) -> Option<Option<Reason>> {
        let idempotency_key = idempotency::key(order.event_id, &self.name);
        let mut delays = self.retry.delays();
        loop {
            let call = Call { idempotency_key, trace: trace.child() };
            let (attempt, result) = self.once(order, &call).await;
            attempts.push(attempt);
            let retry_after = match result {
                Ok(()) => return Some(None),
                Err(AttemptError::Permanent { .. }) => return Some(Some(Reason::Rejected)),
                Err(AttemptError::Transient { retry_after, .. }) => retry_after,
            };
            let Some(delay) = delays.next(retry_after) else {
                return Some(Some(Reason::AttemptsExhausted));
            };
            tracing::debug!(
                order_id = %order.order_id, correlation_id = %order.correlation_id,
                attempt = attempts.len(), ?delay, "attempt failed, backing off"
            );
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// One HTTP call, with its deadline.
    async fn once(&self, order: &OrderCreated, call: &Call) -> (Attempt, Result<(), AttemptError>) {
        let at = now();
        let started = Instant::now();
        // The client has a deadline too; this one is for code that does more than one call to it.
        let outer = self.retry.attempt_timeout + BODY_TIMEOUT + SLACK;
        let result = timeout(outer, self.destination.attempt(order, call)).await;
        let took = started.elapsed();
        let result = result.unwrap_or_else(|_| Err(no_answer_within(outer)));
        let (status_code, error) = match &result {
            Ok(status) => (Some(status.as_u16()), None),
            Err(AttemptError::Transient { status, error, .. } | AttemptError::Permanent { status, error }) => {
                (*status, error.as_deref().map(|error| one_line(error, MAX_ERROR_CHARS)))
            }
        };
        let result = result.map(|_| ());
        self.metrics.attempted(&result, took);
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        (Attempt { at, duration_ms, status_code, error }, result)
    }
}

/// A dead letter is worth a warning; a success is not, at a thousand per second.
fn log(outcome: &Outcome) {
    let (order_id, correlation_id) = (outcome.order_id, &outcome.correlation_id);
    let attempts = outcome.attempts.len();
    match outcome.reason {
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
