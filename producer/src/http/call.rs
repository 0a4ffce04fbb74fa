//! One call of the API: what every answer has in common, whatever was asked.

use std::time::Instant;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use common::order::CorrelationId;
use serde::Serialize;
use uuid::Uuid;

use super::{
    headers::{self, X_CORRELATION_ID},
    metrics::RouteMetrics,
    problem::{BUSY, INTERNAL, Problem, STORE_UNAVAILABLE},
};
use store::StoreFault;

/// A call, from the head of its request to its answer.
#[derive(Debug)]
pub(super) struct Call<'m> {
    /// The client's, or a fresh one.
    pub(super) correlation_id: CorrelationId,
    metrics: &'m RouteMetrics,
    began: Instant,
}

impl<'m> Call<'m> {
    /// Begins with the headers. A correlation id that cannot be used refuses the call; its answer
    /// then bears a fresh one.
    pub(super) fn begin(headers: &HeaderMap, metrics: &'m RouteMetrics) -> (Self, Result<(), Problem>) {
        let began = Instant::now();
        let (correlation_id, sound) = match headers::correlation_id(headers) {
            Ok(sent) => (sent, Ok(())),
            Err(problem) => (None, Err(problem)),
        };
        let correlation_id = correlation_id.unwrap_or_else(CorrelationId::fresh);
        (Self { correlation_id, metrics, began }, sound)
    }

    /// Ends with the answer: adds the correlation id, and counts.
    pub(super) fn end(self, answer: Result<Response, Problem>) -> Response {
        let mut response = answer.unwrap_or_else(|problem| {
            tracing::debug!(correlation_id = %self.correlation_id, problem = problem.kind.name, "request refused");
            problem.into_response(&self.correlation_id)
        });
        // Its characters are a header's by its type.
        if let Ok(echo) = HeaderValue::from_str(self.correlation_id.as_str()) {
            response.headers_mut().insert(&X_CORRELATION_ID, echo);
        }
        self.metrics.answered(response.status(), self.began.elapsed());
        response
    }
}

/// The desk has no time, or the store does not answer: `what` could not be read or written.
pub(super) fn unanswered(what: &str, fault: &StoreFault, correlation_id: &CorrelationId) -> Problem {
    if *fault == StoreFault::Busy {
        return Problem::new(&BUSY, "too many requests are waiting");
    }
    tracing::error!(%correlation_id, %fault, "{what} could not be read or written");
    Problem::new(&STORE_UNAVAILABLE, "the store could not be asked")
}

/// The text form of an id has this length, and no other form names anything.
const UUID_CHARS: usize = 36;
/// Where in a path such as `/v1/orders/{id}` the id is.
const ID_SEGMENT: usize = 3;

/// The id in the path, taken by hand, because what is no id names something that does not exist, in
/// whatever way it is none.
pub(super) fn id(path: &str) -> Option<Uuid> {
    let text = path.split('/').nth(ID_SEGMENT).filter(|text| text.len() == UUID_CHARS)?;
    Uuid::try_parse(text).ok()
}

/// An answer in JSON that nobody may keep: it is true now, and may not be in a moment.
pub(super) fn json_answer(status: StatusCode, body: &impl Serialize) -> Result<Response, Problem> {
    let mut response = Response::new(Body::from(to_json(body)?));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// An answer's body.
pub(super) fn to_json(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(body).map_err(|fault| {
        tracing::error!(%fault, "an answer cannot be written as JSON");
        Problem::new(&INTERNAL, "the answer could not be written")
    })
}
