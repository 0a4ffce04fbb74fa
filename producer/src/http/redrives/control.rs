//! `POST /v1/redrives/{redrive_id}/pause`, `/resume` and `/cancel`.

use std::sync::Arc;

use api::Redrive;
use axum::{
    extract::{Extension, State},
    http::StatusCode,
    response::Response,
};
use store::{Control, Controlled};

use super::{examples, unknown};
use crate::{
    http::{
        Api,
        edge::{
            correlation::Correlated,
            path::PathId,
            problem::{Problem, REDRIVE_NOT_POSSIBLE, STORE, UNKNOWN_REDRIVE, problems},
            response::json,
        },
    },
    views,
};

problems!(Refusals: STORE, [&UNKNOWN_REDRIVE, &REDRIVE_NOT_POSSIBLE]);

/// Pause a redrive
///
/// Nothing more is sent until it is resumed; what was sent continues.
#[utoipa::path(
    post,
    path = "/v1/redrives/{redrive_id}/pause",
    tag = "redrives",
    params(("redrive_id" = Uuid, Path, description = "The id that was returned when it was created.")),
    responses(
        (status = 200, description = "The redrive, paused.", body = Redrive, content_type = "application/json",
         example = examples::redrive),
        Refusals,
    ),
)]
pub(super) async fn pause(api: State<Arc<Api>>, call: Correlated, id: PathId) -> Result<Response, Problem> {
    control(api, call, id, Control::Pause).await
}

/// Resume a redrive
///
/// Continues one that was paused or has stopped by itself. What failed before does not stop it again.
#[utoipa::path(
    post,
    path = "/v1/redrives/{redrive_id}/resume",
    tag = "redrives",
    params(("redrive_id" = Uuid, Path, description = "The id that was returned when it was created.")),
    responses(
        (status = 200, description = "The redrive, running.", body = Redrive, content_type = "application/json",
         example = examples::redrive),
        Refusals,
    ),
)]
pub(super) async fn resume(api: State<Arc<Api>>, call: Correlated, id: PathId) -> Result<Response, Problem> {
    control(api, call, id, Control::Resume).await
}

/// Cancel a redrive
///
/// What was sent continues; the rest waits as before.
#[utoipa::path(
    post,
    path = "/v1/redrives/{redrive_id}/cancel",
    tag = "redrives",
    params(("redrive_id" = Uuid, Path, description = "The id that was returned when it was created.")),
    responses(
        (status = 200, description = "The redrive, cancelled.", body = Redrive, content_type = "application/json",
         example = examples::redrive),
        Refusals,
    ),
)]
pub(super) async fn cancel(api: State<Arc<Api>>, call: Correlated, id: PathId) -> Result<Response, Problem> {
    control(api, call, id, Control::Cancel).await
}

async fn control(
    State(api): State<Arc<Api>>,
    Extension(correlation_id): Correlated,
    PathId(id): PathId,
    control: Control,
) -> Result<Response, Problem> {
    let id = id.ok_or_else(unknown)?;
    match api.desk.control_redrive(id, control).await? {
        Controlled::Done(redrive) => {
            tracing::info!(redrive = %id, status = redrive.status.as_str(), %correlation_id, "redrive controlled");
            api.wake.wake();
            json(StatusCode::OK, &views::redrive::redrive(*redrive))
        }
        Controlled::Unknown => Err(unknown()),
        Controlled::NotPossible(status) => {
            Err(Problem::new(&REDRIVE_NOT_POSSIBLE, format!("the redrive is {}", status.as_str())))
        }
    }
}
