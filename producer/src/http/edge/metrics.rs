//! Counting requests, by the route that they matched.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use common::telemetry::metrics::{Counter, Family, Metrics, seconds};
use prometheus_client::{encoding::EncodeLabelSet, metrics::histogram::Histogram};
use utoipa::openapi::OpenApi;

use super::openapi::operations;

/// The route of requests that match no operation: documentation, unknown paths and methods.
const OTHER: &str = "other";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResponse {
    route: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRoute {
    route: String,
}

/// The counters of one route, each resolved once, because looking one up by its labels takes a lock.
#[derive(Debug)]
struct RouteMetrics {
    success: Counter,
    redirection: Counter,
    client_error: Counter,
    server_error: Counter,
    seconds: Histogram,
}

/// The counters of every operation of the document.
#[derive(Debug)]
pub(in crate::http) struct HttpMetrics {
    /// By path, then by method.
    routes: HashMap<String, Vec<(Method, RouteMetrics)>>,
    other: RouteMetrics,
}

/// Middleware: counts a request and how long it took, from its head to the head of its response.
pub(in crate::http) async fn count(
    State(metrics): State<Arc<HttpMetrics>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let route = metrics.route(path.as_ref().map(MatchedPath::as_str), request.method());
    let response = next.run(request).await;
    route.count(response.status(), began.elapsed());
    response
}

impl HttpMetrics {
    /// Registers the counters of every operation, so that they start at zero.
    pub(in crate::http) fn register(metrics: &Metrics, document: &OpenApi) -> Self {
        let requests = Family::<ByResponse, Counter>::default();
        let durations = Family::<ByRoute, Histogram>::new_with_constructor(seconds);
        metrics.register(|registry| {
            registry.register("http_requests", "Requests answered, by route and class of status", requests.clone());
            registry.register(
                "http_request_duration_seconds",
                "From the head of a request to the head of its response",
                durations.clone(),
            );
        });
        let counters = |route: &str| {
            let status = |status| requests.get_or_create_owned(&ByResponse { route: route.to_owned(), status });
            RouteMetrics {
                success: status("2xx"),
                redirection: status("3xx"),
                client_error: status("4xx"),
                server_error: status("5xx"),
                seconds: durations.get_or_create_owned(&ByRoute { route: route.to_owned() }),
            }
        };
        let mut routes = HashMap::<String, Vec<_>>::new();
        for (path, method) in operations(document) {
            let counters = counters(&format!("{method} {path}"));
            routes.entry(path.to_owned()).or_default().push((method, counters));
        }
        Self { routes, other: counters(OTHER) }
    }

    fn route(&self, path: Option<&str>, method: &Method) -> &RouteMetrics {
        // A HEAD is a GET without the body.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let route = path.and_then(|path| self.routes.get(path)?.iter().find(|(of, _)| of == method));
        route.map_or(&self.other, |(_, counters)| counters)
    }
}

impl RouteMetrics {
    fn count(&self, status: StatusCode, took: Duration) {
        let counter = match status.as_u16() / 100 {
            2 => &self.success,
            3 => &self.redirection,
            4 => &self.client_error,
            _ => &self.server_error,
        };
        counter.inc();
        self.seconds.observe(took.as_secs_f64());
    }
}
