//! The routes that every process serves to its operators: `/livez`, `/readyz`, `/metrics`, `/v1/doctor`.

use axum::{
    Json, Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{
    doctor::Doctor,
    health::{Health, HealthReport, Readiness},
    telemetry::metrics::Metrics,
};

/// The routes. `before_scrape` runs before every read of the metrics, to set gauges that are measured.
pub fn operations<F, Fut>(health: Health, doctor: Doctor, metrics: Metrics, before_scrape: F) -> Router
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let live = health.clone();
    Router::new()
        .route("/livez", get(move || std::future::ready(answer(live.liveness()))))
        .route("/readyz", get(move || std::future::ready(answer(health.readiness()))))
        .route(
            "/v1/doctor",
            get(async move || {
                ([(header::CACHE_CONTROL, "no-store")], Json(doctor.examination().await)).into_response()
            }),
        )
        .route(
            "/metrics",
            get(async move || {
                before_scrape().await;
                let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, format)], metrics.encode())
            }),
        )
}

fn answer(report: HealthReport) -> Response {
    // Degraded counts as ready: taking the process out of service would add to the outage.
    let ready = report.status != Readiness::NotReady;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}
