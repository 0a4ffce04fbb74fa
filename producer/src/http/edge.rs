//! What every route shares: the frame around a request, and how requests are read and responses written.
//!
//! In the order in which a request meets them: the [`Frame`] counts it (`metrics`), drains it if it is refused
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

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::{MatchedPath, Request},
    response::{IntoResponse as _, Response},
};
use common::order::CorrelationId;
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use self::{drain::Rest, metrics::HttpMetrics};

/// Middleware: what is done for every request, whatever becomes of it. It is one layer, because each costs
/// about as much as a handler, and no `from_fn`, which would copy the handler for each request.
///
/// From the outside in: every request is counted; if it is refused, the rest of its body is drained; further
/// in it has a correlation id, and a refusal is a [`problem::Problem`] that is rendered on its way out.
#[derive(Clone)]
pub(super) struct Frame(pub(super) Arc<HttpMetrics>);

/// A handler in its [`Frame`].
#[derive(Clone)]
pub(super) struct Framed<S> {
    metrics: Arc<HttpMetrics>,
    handler: S,
}

impl<S> Layer<S> for Frame {
    type Service = Framed<S>;

    fn layer(&self, handler: S) -> Framed<S> {
        Framed { metrics: Arc::clone(&self.0), handler }
    }
}

impl<S> Service<Request> for Framed<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.handler.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let counting = self.metrics.begin(request.extensions().get::<MatchedPath>(), request.method());
        let (mut request, rest) = Rest::of(request);
        let handled = correlation::take(&mut request).map(|id| (id, self.handler.call(request)));
        Box::pin(async move {
            let (correlation_id, mut response) = match handled {
                Ok((id, response)) => (id, response.await?),
                Err(problem) => (CorrelationId::fresh(), problem.into_response()),
            };
            correlation::name(&mut response, &correlation_id);
            rest.drain(response.status()).await;
            counting.end(response.status());
            Ok(response)
        })
    }
}
