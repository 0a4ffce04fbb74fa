//! `GET /v1/redrives/{redrive_id}`.

use std::sync::Arc;

use api::Redrive;
use axum::{extract::State, http::StatusCode, response::Response};

use super::{examples, unknown};
use crate::{
    http::{
        Api,
        edge::{
            path::PathId,
            problem::{Problem, STORE, UNKNOWN_REDRIVE, problems},
            response::json,
        },
    },
    views,
};

problems!(Refusals: STORE, [&UNKNOWN_REDRIVE]);

/// Follow a redrive
///
/// A redrive as it is now, with its progress.
#[utoipa::path(
    get,
    path = "/v1/redrives/{redrive_id}",
    tag = "redrives",
    params(("redrive_id" = Uuid, Path, description = "The id that was returned when it was created.")),
    responses(
        (status = 200, description = "The redrive.", body = Redrive, content_type = "application/json",
         example = examples::redrive),
        Refusals,
    ),
)]
pub(super) async fn show(State(api): State<Arc<Api>>, PathId(id): PathId) -> Result<Response, Problem> {
    let redrive = api.desk.redrive(id.ok_or_else(unknown)?).await?;
    json(StatusCode::OK, &views::redrive::redrive(redrive.ok_or_else(unknown)?))
}
