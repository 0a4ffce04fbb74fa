//! `POST /v1/redrives/{id}/pause`, `/resume` and `/cancel`.

use std::sync::Arc;

use api::Redrive;
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use common::order::CorrelationId;

use super::{
    Accept, Api, Show,
    call::{Call, id, json_answer},
    openapi,
    problem::{
        BUSY, INTERNAL, INVALID_HEADER, Kind, Problem, REDRIVE_NOT_POSSIBLE, STORE_UNAVAILABLE, UNKNOWN_REDRIVE,
    },
    redrives::{failed, unknown},
};
use crate::views;
use store::{Control, Controlled};

/// Every way to refuse to pause, resume or cancel one.
pub(super) static CONTROL_PROBLEMS: [&Kind; 6] =
    [&INVALID_HEADER, &UNKNOWN_REDRIVE, &REDRIVE_NOT_POSSIBLE, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// Pause a redrive
///
/// Nothing more is sent until it is resumed; what was sent runs on.
#[utoipa::path(
    post,
    path = "/v1/redrives/{redrive_id}/pause",
    tag = "redrives",
    params(
        ("redrive_id" = Uuid, Path, description = "The id that was answered when it was created."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The redrive, paused.", body = Redrive, content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::redrive_example),
    ),
)]
pub(super) async fn pause<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    control(&api, request, Control::Pause).await
}

/// Resume a redrive
///
/// Goes on with one that was paused or has stopped by itself. What failed before does not stop it again.
#[utoipa::path(
    post,
    path = "/v1/redrives/{redrive_id}/resume",
    tag = "redrives",
    params(
        ("redrive_id" = Uuid, Path, description = "The id that was answered when it was created."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The redrive, running.", body = Redrive, content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::redrive_example),
    ),
)]
pub(super) async fn resume<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    control(&api, request, Control::Resume).await
}

/// Cancel a redrive
///
/// What was sent runs on; the rest waits as before.
#[utoipa::path(
    post,
    path = "/v1/redrives/{redrive_id}/cancel",
    tag = "redrives",
    params(
        ("redrive_id" = Uuid, Path, description = "The id that was answered when it was created."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The redrive, cancelled.", body = Redrive, content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::redrive_example),
    ),
)]
pub(super) async fn cancel<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    control(&api, request, Control::Cancel).await
}

async fn control<A: Accept, S: Show>(api: &Api<A, S>, request: Request, control: Control) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.control_redrive);
    let answer = match sound {
        Ok(()) => controlled(api, &call.correlation_id, request.uri().path(), control).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn controlled<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    path: &str,
    control: Control,
) -> Result<Response, Problem> {
    let id = id(path).ok_or_else(unknown)?;
    let done = api.desk.control_redrive(id, control).await.map_err(|fault| failed(fault, correlation_id))?;
    match done {
        Controlled::Done(redrive) => {
            tracing::info!(redrive = %id, status = redrive.status.as_str(), %correlation_id, "a redrive was told");
            api.redriving.wake.wake();
            json_answer(StatusCode::OK, &views::redrive::redrive(*redrive))
        }
        Controlled::Unknown => Err(unknown()),
        Controlled::NotPossible(status) => {
            Err(Problem::new(&REDRIVE_NOT_POSSIBLE, format!("the redrive is {}", status.as_str())))
        }
    }
}
