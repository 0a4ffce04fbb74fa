//! The OpenAPI document: that of the routes, with what every process serves.

use common::{doctor::Examination, health::HealthReport};
use utoipa::{OpenApi as _, openapi::OpenApi};

use crate::http::resources;

/// The top of the document.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Tandem",
        description = "One order in, every destination called, nothing lost. An accepted order is on disk; each \
                       destination is then called independently, as often as it takes, under one idempotency key. \
                       What cannot be delivered is shown as dead-lettered, with its reason.\n\n\
                       Every response has X-Correlation-ID. Every refusal is a problem (RFC 9457), also for an \
                       unknown path (404) or method (405).",
        license(name = "MIT", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(api::Problem, api::OrderEvent)),
    tags(
        (name = "orders", description = "Placing and following orders"),
        (name = "dead letters", description = "What could not be delivered, and why"),
        (name = "redrives", description = "Sending dead letters again"),
        (name = "operations", description = "For operators"),
    ),
)]
pub(in crate::http) struct Head;

/// The routes that every process has; their code is in the common crate, which has no document.
#[derive(utoipa::OpenApi)]
#[openapi(paths(livez, readyz, metrics, doctor))]
struct Operations;

/// The document.
pub(in crate::http) fn document() -> OpenApi {
    let mut document = resources().into_openapi();
    document.merge(Operations::openapi());
    document
}

/// Alive
///
/// Whether every part of the process has shown a sign of life recently.
#[utoipa::path(get, path = "/livez", tag = "operations", responses(
    (status = 200, description = "It is alive.", body = HealthReport),
    (status = 503, description = "A part has been silent for too long; restart the process.", body = HealthReport),
))]
#[expect(dead_code, reason = "only its description is used")]
fn livez() {}

/// Ready
///
/// Whether the process can do its work, and why each part that is down is down.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses(
    (status = 200, description = "It is ready; or it is degraded: it does its work, and catches up on the rest later.",
     body = HealthReport),
    (status = 503, description = "It cannot do its work.", body = HealthReport),
))]
#[expect(dead_code, reason = "only its description is used")]
fn readyz() {}

/// Doctor
///
/// Examines the store, the broker and everything else that the process depends on, and gives a remedy for each
/// fault. Declares what is missing on the broker; takes and sends no message. Runs at most once a second.
#[utoipa::path(get, path = "/v1/doctor", tag = "operations", responses(
    (status = 200, description = "What was found, good or bad.", body = Examination),
))]
#[expect(dead_code, reason = "only its description is used")]
fn doctor() {}

/// Metrics
///
/// What the process counts, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "The metrics, in the OpenMetrics text format.", body = String,
     content_type = "application/openmetrics-text"),
))]
#[expect(dead_code, reason = "only its description is used")]
fn metrics() {}
