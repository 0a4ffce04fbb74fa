//! `GET /v1/dead-letters/{id}`: one with everything.

use std::sync::Arc;

use api::DeadLetter;
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use common::order::CorrelationId;

use super::{
    Accept, Api, Show,
    call::{Call, id, json_answer, unanswered},
    openapi,
    problem::{BUSY, INTERNAL, INVALID_HEADER, Kind, Problem, STORE_UNAVAILABLE, UNKNOWN_DEAD_LETTER},
};
use crate::views;

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &UNKNOWN_DEAD_LETTER, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// Show a dead letter
///
/// One with everything that came from the queue, wherever it is: it is shown also when it was sent again.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}",
    tag = "dead letters",
    params(
        ("id" = Uuid, Path, description = "The id of the dead letter, as it is listed."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The dead letter.", body = DeadLetter, content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::dead_letter_example),
    ),
)]
pub(super) async fn show_dead_letter<A: Accept, S: Show>(
    State(api): State<Arc<Api<A, S>>>,
    request: Request,
) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.show_dead_letter);
    let answer = match sound {
        Ok(()) => answer(&api, &call.correlation_id, request.uri().path()).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn answer<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    path: &str,
) -> Result<Response, Problem> {
    let id = id(path).ok_or_else(unknown)?;
    let found = api.desk.dead_letter(id).await.map_err(|fault| unanswered("dead letters", &fault, correlation_id))?;
    json_answer(StatusCode::OK, &views::dead_letter::whole(found.ok_or_else(unknown)?))
}

pub(super) fn unknown() -> Problem {
    Problem::new(&UNKNOWN_DEAD_LETTER, "no dead letter has this id")
}
