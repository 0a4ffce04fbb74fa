//! `GET /v1/reconciliation`: what the last sweep found.

use std::sync::Arc;

use api::{OverdueDelivery, Reconciliation, Seen};
use axum::{extract::State, http::StatusCode, response::Response};
use jiff::SignedDuration;
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    edge::{
        problem::{Problem, problems},
        response::json,
        sample,
    },
};

problems!(Refusals:);

/// The route.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(reconciliation))
}

/// Reconciliation
///
/// Every delivery that is stuck, as of the last sweep (`RECONCILE_INTERVAL`): pending, with nothing left in
/// the system that could end it. It was last seen in the outbox although the relay publishes, or it was
/// published or sent again longer than `RECONCILE_AFTER` ago, without an outcome and without a message.
#[utoipa::path(
    get,
    path = "/v1/reconciliation",
    tag = "operations",
    responses(
        (status = 200, description = "What the last sweep found.", body = Reconciliation,
         content_type = "application/json", example = example),
        Refusals,
    ),
)]
async fn reconciliation(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let (sweep, detail) = api.swept.last();
    let found = Reconciliation {
        checked_at: sweep.as_ref().map(|sweep| sweep.checked_at),
        overdue: sweep.as_ref().map(|sweep| sweep.overdue.clone()).unwrap_or_default(),
        overdue_total: sweep.map_or(0, |sweep| sweep.overdue_total),
        detail,
    };
    json(StatusCode::OK, &found)
}

/// What a sweep found after somebody had emptied a queue.
fn example() -> Value {
    let since = sample::time();
    let overdue = vec![OverdueDelivery {
        order_id: Some(sample::order_id().to_string()),
        destination: "inventory".to_owned(),
        since,
        seen: Seen::Published.into(),
    }];
    let checked_at = Some(since + SignedDuration::from_mins(16));
    sample::json(&Reconciliation { checked_at, overdue, overdue_total: 1, detail: None })
}
