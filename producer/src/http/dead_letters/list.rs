//! `GET /v1/dead-letters`: those that are waiting for an operator.

use std::sync::Arc;

use api::{DeadLetterFilter, DeadLetterItem, List};
use axum::{extract::State, http::StatusCode, response::Response};

use super::{examples, filter};
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

/// List dead letters
///
/// Dead letters that are waiting for an operator, the last recorded first. One that is being sent again, or
/// has been delivered since, is not listed; it is still shown by its id. An unknown parameter is refused.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    tag = "dead letters",
    params(DeadLetterFilter, Page),
    responses(
        (status = 200, description = "A page of dead letters.", body = List<DeadLetterItem>,
         content_type = "application/json",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::listed),
        Refusals,
    ),
)]
pub(super) async fn list_dead_letters(State(api): State<Arc<Api>>, mut query: Query) -> Result<Response, Problem> {
    let (filter, wanted) = (filter::take(&mut query), Page::take(&mut query));
    query.finish()?;
    let letters = api.desk.dead_letters(filter, wanted.after, wanted.limit + 1).await?;
    json(StatusCode::OK, &page(letters, wanted.limit, |letter| letter.id, views::dead_letter::item))
}
