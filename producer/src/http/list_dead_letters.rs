//! `GET /v1/dead-letters`: those that wait for somebody.

use std::sync::Arc;

use api::{DeadLetterItem, List};
use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use common::{order::CorrelationId, outcome::Reason};
use jiff::Timestamp;
use uuid::Uuid;

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

/// List dead letters
///
/// Dead letters that wait for somebody, the last recorded first. One that is being sent again, or was
/// delivered meanwhile, is not among them; it is still shown by its id. An unknown parameter is refused.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    tag = "dead letters",
    params(
        ("destination" = Option<String>, Query, nullable = false,
         description = "Whose queue it died in; `outcomes` is the queue of reports."),
        ("reason" = Option<Reason>, Query, nullable = false, description = "Why it died."),
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
        (status = 200, description = "A page of dead letters.", body = List<DeadLetterItem>,
         content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::dead_letters_example),
    ),
)]
pub(super) async fn list_dead_letters<A: Accept, S: Show>(
    State(api): State<Arc<Api<A, S>>>,
    request: Request,
) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.list_dead_letters);
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
    let before = page.after_id(&mut query);
    query.finish()?;
    let letters = api.desk.dead_letters(filter, before, page.limit + 1).await;
    let letters = letters.map_err(|fault| unanswered("dead letters", &fault, correlation_id))?;
    let list = cut(letters, page.limit, |letter| letter.id.as_bytes().to_vec(), views::dead_letter::item);
    json_answer(StatusCode::OK, &list)
}

/// A page of one, as the document shows it.
pub(super) fn example(id: Uuid, order_id: Uuid, failed_at: Timestamp) -> DeadLetterItem {
    DeadLetterItem {
        id: id.to_string(),
        order_id: Some(order_id.to_string()),
        destination: "inventory".to_owned(),
        reason: Reason::Rejected.into(),
        status_code: Some(422),
        error: None,
        failed_at,
        attempts: vec![common::outcome::Attempt {
            at: failed_at,
            duration_ms: 12,
            status_code: Some(422),
            error: None,
        }],
        redrives: 0,
        archived: false,
    }
}
