//! `GET /v1/redrives`.

use std::sync::Arc;

use api::{List, Redrive};
use axum::{extract::State, http::StatusCode, response::Response};

use super::examples;
use crate::{
    http::{
        Api,
        edge::{
            page::{Page, page},
            problem::{INVALID_QUERY, Problem, STORE, problems},
            query::Query,
            response::json,
        },
    },
    views,
};

problems!(Refusals: STORE, [&INVALID_QUERY]);

/// List redrives
///
/// The last created first.
#[utoipa::path(
    get,
    path = "/v1/redrives",
    tag = "redrives",
    params(Page),
    responses(
        (status = 200, description = "One page.", body = List<Redrive>, content_type = "application/json",
         example = examples::listed),
        Refusals,
    ),
)]
pub(super) async fn list(State(api): State<Arc<Api>>, mut query: Query) -> Result<Response, Problem> {
    let wanted = Page::take(&mut query);
    query.finish()?;
    let redrives = api.desk.redrives(wanted.after, wanted.limit + 1).await?;
    json(StatusCode::OK, &page(redrives, wanted.limit, |redrive| redrive.id, views::redrive::redrive))
}
