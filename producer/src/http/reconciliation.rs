//! `GET /v1/reconciliation`: what the last sweep found.

use std::sync::Arc;

use api::Reconciliation;
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    Accept, Api, Show,
    call::{Call, json_answer},
    openapi,
    problem::{INTERNAL, INVALID_HEADER, Kind},
};

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 2] = [&INVALID_HEADER, &INTERNAL];

/// Reconciliation
///
/// Every delivery that is pending though nothing in the system will end it, as of the last sweep
/// (`RECONCILE_INTERVAL`): seen in the outbox though the relay publishes, or published or sent again, for
/// longer than `RECONCILE_AFTER`, with no outcome and no message.
#[utoipa::path(
    get,
    path = "/v1/reconciliation",
    tag = "operations",
    params(
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "What the last sweep found.", body = Reconciliation,
         content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::reconciliation_example),
    ),
)]
pub(super) async fn reconciliation<A: Accept, S: Show>(
    State(api): State<Arc<Api<A, S>>>,
    request: Request,
) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.reconciliation);
    let answer = sound.and_then(|()| {
        let (sweep, detail) = api.swept.last();
        json_answer(
            StatusCode::OK,
            &Reconciliation {
                checked_at: sweep.as_ref().map(|sweep| sweep.checked_at),
                overdue: sweep.as_ref().map(|sweep| sweep.overdue.clone()).unwrap_or_default(),
                overdue_total: sweep.map_or(0, |sweep| sweep.overdue_total),
                detail,
            },
        )
    });
    call.end(answer)
}
