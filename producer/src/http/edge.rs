//! What every route shares: the frame around a request, and how requests are read and responses written.
//!
//! In the order in which a request meets them: the [`frame`] counts it (`metrics`), drains it if it is refused
//! (`drain`) and gives it its `correlation` id; its handler extracts the id in its `path`, its `query` with a
//! `page`, its `headers` and what it would `prefer`, and its `body` as `json`, whose `faults` are noted. A
//! `response` may have an `etag`; a `problem` is the response to everything else.

pub(super) mod metrics;
pub(super) mod drain;
pub(super) mod correlation;
pub(super) mod path;
pub(super) mod query;
pub(super) mod page;
pub(super) mod headers;
pub(super) mod prefer;
pub(super) mod body;
pub(super) mod json;
pub(super) mod faults;
pub(super) mod response;
pub(super) mod etag;
pub(super) mod problem;
pub(super) mod openapi;
pub(super) mod sample;

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};

use self::{correlation::correlate, drain::Rest, metrics::HttpMetrics};

/// Middleware: what is done for every request, whatever becomes of it. It is one layer, because each costs
/// about as much as a handler.
///
/// From the outside in: every request is counted; if it is refused, the rest of its body is drained; further
/// in it has a correlation id, and a refusal is a [`problem::Problem`] that is rendered on its way out.
pub(super) async fn frame(
    State(metrics): State<Arc<HttpMetrics>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let counting = metrics.begin(path.as_ref(), request.method());
    let (request, rest) = Rest::of(request);
    let response = correlate(request, next).await;
    rest.drain(response.status()).await;
    counting.end(response.status());
    response
}
