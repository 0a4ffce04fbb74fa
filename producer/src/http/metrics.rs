//! What the HTTP edge counts.

use std::time::Duration;

use axum::http::StatusCode;
use common::telemetry::metrics::{Counter, Family, Metrics, seconds};
use prometheus_client::{encoding::EncodeLabelSet, metrics::histogram::Histogram};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAnswer {
    route: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRoute {
    route: &'static str,
}

/// The counters of one route, each resolved once, because looking one up by its labels takes a lock.
#[derive(Clone, Debug)]
pub(super) struct RouteMetrics {
    success: Counter,
    redirection: Counter,
    client_error: Counter,
    server_error: Counter,
    seconds: Histogram,
}

/// The counters of the API.
#[derive(Clone, Debug)]
pub(super) struct HttpMetrics {
    pub(super) place_order: RouteMetrics,
    pub(super) place_batch: RouteMetrics,
    pub(super) list_orders: RouteMetrics,
    pub(super) show_order: RouteMetrics,
    pub(super) list_dead_letters: RouteMetrics,
    pub(super) group_dead_letters: RouteMetrics,
    pub(super) show_dead_letter: RouteMetrics,
    pub(super) archive_dead_letter: RouteMetrics,
    pub(super) unarchive_dead_letter: RouteMetrics,
    pub(super) create_redrive: RouteMetrics,
    pub(super) list_redrives: RouteMetrics,
    pub(super) show_redrive: RouteMetrics,
    pub(super) control_redrive: RouteMetrics,
    pub(super) reconciliation: RouteMetrics,
    pub(super) order_events: RouteMetrics,
    pub(super) events: RouteMetrics,
    /// Documentation, and whatever is no route.
    pub(super) other: RouteMetrics,
}

impl HttpMetrics {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let requests = Family::<ByAnswer, Counter>::default();
        let durations = Family::<ByRoute, Histogram>::new_with_constructor(seconds);
        metrics.register(|registry| {
            registry.register("http_requests", "Requests answered, by route and class of status", requests.clone());
            registry.register(
                "http_request_duration_seconds",
                "From the head of a request to its answer",
                durations.clone(),
            );
        });
        let route = |route| {
            let answers = |status| requests.get_or_create_owned(&ByAnswer { route, status });
            RouteMetrics {
                success: answers("2xx"),
                redirection: answers("3xx"),
                client_error: answers("4xx"),
                server_error: answers("5xx"),
                seconds: durations.get_or_create_owned(&ByRoute { route }),
            }
        };
        Self {
            place_order: route("POST /v1/orders"),
            place_batch: route("POST /v1/orders:batch"),
            list_orders: route("GET /v1/orders"),
            show_order: route("GET /v1/orders/{order_id}"),
            list_dead_letters: route("GET /v1/dead-letters"),
            group_dead_letters: route("GET /v1/dead-letters:groups"),
            show_dead_letter: route("GET /v1/dead-letters/{id}"),
            archive_dead_letter: route("POST /v1/dead-letters/{id}/archive"),
            unarchive_dead_letter: route("POST /v1/dead-letters/{id}/unarchive"),
            create_redrive: route("POST /v1/redrives"),
            list_redrives: route("GET /v1/redrives"),
            show_redrive: route("GET /v1/redrives/{redrive_id}"),
            control_redrive: route("POST /v1/redrives/{redrive_id}/{pause|resume|cancel}"),
            reconciliation: route("GET /v1/reconciliation"),
            order_events: route("GET /v1/orders/{order_id}/events"),
            events: route("GET /v1/events"),
            other: route("other"),
        }
    }
}

impl RouteMetrics {
    /// A request was answered.
    pub(super) fn answered(&self, status: StatusCode, took: Duration) {
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
