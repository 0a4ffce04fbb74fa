//! `GET /v1/dead-letters:groups`: what waits, counted by destination and cause.

use std::sync::Arc;

use api::{DeadLetterGroup, List};
use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use common::{order::CorrelationId, outcome::Reason};

use super::{
    Accept, Api, Show,
    call::{Call, json_answer, unanswered},
    dead_letter_filter, openapi,
    page::{Page, page as cut},
    problem::{BUSY, INTERNAL, INVALID_HEADER, INVALID_QUERY, Kind, Problem, STORE_UNAVAILABLE},
    query::Query,
};
use crate::views;

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &INVALID_QUERY, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// Group dead letters
///
/// Dead letters that wait for somebody, counted by destination and cause (reason, status and error, each
/// as it is), in the order of these. An unknown parameter is refused.
#[utoipa::path(
    get,
    path = "/v1/dead-letters:groups",
    tag = "dead letters",
    params(
        ("destination" = Option<String>, Query, nullable = false,
         description = "Whose queue they died in; `outcomes` is the queue of reports."),
        ("reason" = Option<Reason>, Query, nullable = false, description = "Why they died."),
        ("status_code" = Option<u16>, Query, nullable = false, minimum = 100, maximum = 999,
         description = "The last attempt's status."),
        ("error" = Option<String>, Query, nullable = false, min_length = 1, max_length = 200,
         description = "A part of the error; ASCII letters match in either case."),
        ("order_id" = Option<Uuid>, Query, nullable = false, description = "The order."),
        ("from" = Option<String>, Query, nullable = false, format = DateTime,
         description = "Failed at this time or later (RFC 3339)."),
        ("to" = Option<String>, Query, nullable = false, format = DateTime,
         description = "Failed before this time (RFC 3339)."),
        ("archived" = Option<bool>, Query, nullable = false,
         description = "`true`: archived ones, instead of those that are not."),
        ("limit" = Option<u32>, Query, nullable = false, minimum = 1, maximum = 500,
         description = "Most items of the page; 50 where it is absent."),
        ("cursor" = Option<String>, Query, nullable = false,
         description = "The next_cursor of the page before."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "A page of groups.", body = List<DeadLetterGroup>,
         content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::dead_letter_groups_example),
    ),
)]
pub(super) async fn group_dead_letters<A: Accept, S: Show>(
    State(api): State<Arc<Api<A, S>>>,
    request: Request,
) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.group_dead_letters);
    let answer = match sound {
        Ok(()) => answer(&api, &call.correlation_id, request.uri()).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn answer<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    uri: &Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(uri);
    let (filter, page) = (dead_letter_filter::of(&mut query), Page::of(&mut query));
    let after = page.after_id(&mut query);
    query.finish()?;
    let groups = api.desk.dead_letter_groups(filter, after, page.limit + 1).await;
    let groups = groups.map_err(|fault| unanswered("dead letters", &fault, correlation_id))?;
    let list = cut(groups, page.limit, |group| group.sample_id.as_bytes().to_vec(), views::dead_letter::group);
    json_answer(StatusCode::OK, &list)
}
