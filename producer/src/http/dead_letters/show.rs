//! `GET /v1/dead-letters/{id}`: a dead letter with everything.

use std::sync::Arc;

use api::DeadLetter;
use axum::{extract::State, http::StatusCode, response::Response};

use super::{examples, unknown};
use crate::{
    http::{
        Api,
        edge::{
            path::PathId,
            problem::{Problem, STORE, UNKNOWN_DEAD_LETTER, problems},
            response::json,
        },
    },
    views,
};

problems!(Refusals: STORE, [&UNKNOWN_DEAD_LETTER]);

/// Show a dead letter
///
/// One dead letter with everything that came from the queue, whatever its state: it is shown even after it
/// was sent again.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}",
    tag = "dead letters",
    params(("id" = Uuid, Path, description = "The id of the dead letter, as it is listed.")),
    responses(
        (status = 200, description = "The dead letter.", body = DeadLetter, content_type = "application/json",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::whole),
        Refusals,
    ),
)]
pub(super) async fn show_dead_letter(State(api): State<Arc<Api>>, PathId(id): PathId) -> Result<Response, Problem> {
    let letter = api.desk.dead_letter(id.ok_or_else(unknown)?).await?;
    json(StatusCode::OK, &views::dead_letter::whole(letter.ok_or_else(unknown)?))
}
