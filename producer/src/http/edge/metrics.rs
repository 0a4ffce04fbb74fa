//! Counting requests, by the route that they matched.

use std::{collections::HashMap, sync::Arc, time::Instant};

use axum::{
    extract::MatchedPath,
    http::{Method, StatusCode},
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
    routes: HashMap<String, Vec<(Method, Arc<RouteMetrics>)>>,
    other: Arc<RouteMetrics>,
}

/// A request that has not been answered yet.
#[derive(Debug)]
pub(super) struct Counting {
    route: Arc<RouteMetrics>,
    began: Instant,
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
            Arc::new(RouteMetrics {
                success: status("2xx"),
                redirection: status("3xx"),
                client_error: status("4xx"),
                server_error: status("5xx"),
                seconds: durations.get_or_create_owned(&ByRoute { route: route.to_owned() }),
            })
        };
        let mut routes = HashMap::<String, Vec<_>>::new();
        for (path, method) in operations(document) {
            let counters = counters(&format!("{method} {path}"));
            routes.entry(path.to_owned()).or_default().push((method, counters));
        }
        Self { routes, other: counters(OTHER) }
    }

    /// A request to the route with this path begins.
    pub(super) fn begin(&self, path: Option<&MatchedPath>, method: &Method) -> Counting {
        // A HEAD is a GET without the body.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let routes = path.and_then(|path| self.routes.get(path.as_str()));
        let route = routes.and_then(|routes| routes.iter().find(|(of, _)| of == method));
        let route = Arc::clone(route.map_or(&self.other, |(_, counters)| counters));
        Counting { route, began: Instant::now() }
    }
}

impl Counting {
    /// The head of its response is there.
    pub(super) fn end(self, status: StatusCode) {
        let RouteMetrics { success, redirection, client_error, server_error, seconds } = &*self.route;
        let counter = match status.as_u16() / 100 {
            2 => success,
            3 => redirection,
            4 => client_error,
            _ => server_error,
        };
        counter.inc();
        seconds.observe(self.began.elapsed().as_secs_f64());
    }
}
