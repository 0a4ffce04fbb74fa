//! Calls: each attempt runs as a task of its own, with a deadline.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::deliveries::DeliveryId;
use crate::{
    destination::{Call, Destination},
    event::{OrderCreated, now},
    http_client::{AttemptError, BODY_TIMEOUT, Failure, fresh, no_answer_within},
    outcome::{Attempt, one_line},
};

/// How much longer than its deadline and the reading of a body an attempt may take before it is cut off.
const SLACK: Duration = Duration::from_millis(250);
/// The longest error that is kept, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// The calls that run.
#[derive(Debug)]
pub(super) struct Calls<D> {
    destination: Arc<D>,
    deadline: Duration,
    running: JoinSet<Called>,
}

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) id: DeliveryId,
    /// The call before it, on a connection that had been used before and broke. It does not count.
    pub(super) broken: Option<Attempt>,
    /// What is kept of it.
    pub(super) attempt: Attempt,
    pub(super) took: Duration,
    /// `None` if the destination's code panicked.
    pub(super) result: Option<Result<(), AttemptError>>,
}

impl<D: Destination> Calls<D> {
    /// Calls to this destination, each of which may take as long as `timeout`.
    pub(super) fn new(destination: D, timeout: Duration) -> Self {
        // The client has a deadline too; this one is for code that does more than one call to it.
        let deadline = timeout + BODY_TIMEOUT + SLACK;
        Self { destination: Arc::new(destination), deadline, running: JoinSet::new() }
    }

    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Calls the destination. If a connection breaks that had been used before, it is called once more at once.
    pub(super) fn begin(&mut self, id: DeliveryId, order: Arc<OrderCreated>, call: Call) {
        let (destination, deadline) = (Arc::clone(&self.destination), self.deadline);
        self.running.spawn(async move {
            let called = once(&*destination, deadline, id, &order, &call).await;
            let stale = matches!(&called.result, Some(Err(error)) if error.failure == Failure::Stale);
            if !stale {
                return called;
            }
            let broken = Some(Attempt { spent: Some(false), ..called.attempt });
            Called { broken, ..fresh(once(&*destination, deadline, id, &order, &call)).await }
        });
    }

    /// Waits for the next call to end. Never returns while none runs.
    ///
    /// Cancellation safe.
    pub(super) async fn ended(&mut self) -> Called {
        loop {
            match self.running.join_next().await {
                Some(Ok(called)) => return called,
                // The task catches panics itself, and is aborted only when the process ends.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Aborts what still runs.
    pub(super) async fn abort(&mut self) {
        self.running.shutdown().await;
    }
}

/// One call.
async fn once<D: Destination>(
    destination: &D,
    deadline: Duration,
    id: DeliveryId,
    order: &OrderCreated,
    call: &Call,
) -> Called {
    let (at, began) = (now(), Instant::now());
    // A panic ends this delivery and no other.
    let result = AssertUnwindSafe(timeout(deadline, destination.attempt(order, call))).catch_unwind().await;
    let took = began.elapsed();
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let attempt = Attempt { at, duration_ms, status_code: None, error: None, answer: None, spent: None };
    let Ok(result) = result else {
        // The call may have been made, so it counts.
        let error = Some("the worker's code for this destination panicked".to_owned());
        return Called { id, broken: None, attempt: Attempt { error, ..attempt }, took, result: None };
    };
    let result = result.unwrap_or_else(|_| Err(no_answer_within(deadline)));
    let attempt = match &result {
        Ok(status) => Attempt { status_code: Some(status.as_u16()), ..attempt },
        Err(AttemptError { status, error, answer, .. }) => {
            let error = error.as_deref().map(|error| one_line(error, MAX_ERROR_CHARS));
            Attempt { status_code: *status, error, answer: answer.clone(), ..attempt }
        }
    };
    Called { id, broken: None, attempt, took, result: Some(result.map(drop)) }
}
