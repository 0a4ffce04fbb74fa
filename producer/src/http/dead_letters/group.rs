//! `GET /v1/dead-letters:groups`: dead letters counted by destination and cause.

use std::sync::Arc;

use api::{DeadLetterFilter, DeadLetterGroup, List};
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

/// Group dead letters
///
/// Dead letters that are waiting for an operator, counted by destination and cause (the exact reason,
/// status and error, and what the API said), and sorted by these. Of an answer that is a problem (RFC 9457)
/// its type counts, or its title if it has no type of its own; of any other its text, with `…` for each word
/// of 8 characters or more that has a digit, which is mostly an id or a time. An unknown parameter is refused.
#[utoipa::path(
    get,
    path = "/v1/dead-letters:groups",
    tag = "dead letters",
    params(DeadLetterFilter, Page),
    responses(
        (status = 200, description = "A page of groups.", body = List<DeadLetterGroup>,
         content_type = "application/json",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::grouped),
        Refusals,
    ),
)]
pub(super) async fn group_dead_letters(State(api): State<Arc<Api>>, mut query: Query) -> Result<Response, Problem> {
    let (filter, wanted) = (filter::take(&mut query), Page::take(&mut query));
    query.finish()?;
    let groups = api.desk.dead_letter_groups(filter, wanted.after, wanted.limit + 1).await?;
    json(StatusCode::OK, &page(groups, wanted.limit, |group| group.sample_id, views::dead_letter::group))
}
