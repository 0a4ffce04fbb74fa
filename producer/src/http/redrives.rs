//! `GET /v1/redrives` and `/v1/redrives/{id}`: redrives, and how far they are.

use std::sync::Arc;

use api::{List, Redrive};
use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use common::order::CorrelationId;

use super::{
    Accept, Api, Show,
    call::{Call, id, json_answer},
    openapi,
    page::{Page, page as cut},
    problem::{BUSY, INTERNAL, INVALID_HEADER, INVALID_QUERY, Kind, Problem, STORE_UNAVAILABLE, UNKNOWN_REDRIVE},
    query::Query,
};
use crate::views;
use store::StoreFault;

/// Every way to refuse a list of them.
pub(super) static LIST_PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &INVALID_QUERY, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];
/// Every way to refuse to show one.
pub(super) static SHOW_PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &UNKNOWN_REDRIVE, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// List redrives
///
/// The last created first.
#[utoipa::path(
    get,
    path = "/v1/redrives",
    tag = "redrives",
    params(
        ("limit" = Option<u32>, Query, nullable = false, minimum = 1, maximum = 500,
         description = "Most redrives of the page; 50 where it is absent."),
        ("cursor" = Option<String>, Query, nullable = false, max_length = 128,
         description = "The `next_cursor` of the page before."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "One page.", body = List<Redrive>, content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::redrives_example),
    ),
)]
pub(super) async fn list<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.list_redrives);
    let answer = match sound {
        Ok(()) => listed(&api, &call.correlation_id, request.uri()).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn listed<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    uri: &Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(uri);
    let page = Page::of(&mut query);
    let before = page.after_id(&mut query);
    query.finish()?;
    let found = api.desk.redrives(before, page.limit + 1).await.map_err(|fault| failed(fault, correlation_id))?;
    let list = cut(found, page.limit, |last| last.id.as_bytes().to_vec(), views::redrive::redrive);
    json_answer(StatusCode::OK, &list)
}

/// Follow a redrive
///
/// A redrive as it is now, with its progress.
#[utoipa::path(
    get,
    path = "/v1/redrives/{redrive_id}",
    tag = "redrives",
    params(
        ("redrive_id" = Uuid, Path, description = "The id that was answered when it was created."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The redrive.", body = Redrive, content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::redrive_example),
    ),
)]
pub(super) async fn show<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.show_redrive);
    let answer = match sound {
        Ok(()) => shown(&api, &call.correlation_id, request.uri().path()).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn shown<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    path: &str,
) -> Result<Response, Problem> {
    let id = id(path).ok_or_else(unknown)?;
    let found = api.desk.redrive(id).await.map_err(|fault| failed(fault, correlation_id))?;
    json_answer(StatusCode::OK, &views::redrive::redrive(found.ok_or_else(unknown)?))
}

pub(super) fn unknown() -> Problem {
    Problem::new(&UNKNOWN_REDRIVE, "no redrive has this id")
}

pub(super) fn failed(fault: StoreFault, correlation_id: &CorrelationId) -> Problem {
    match fault {
        StoreFault::Busy => Problem::new(&BUSY, "too many requests are waiting"),
        fault => {
            tracing::error!(%correlation_id, %fault, "redrives could not be read or written");
            Problem::new(&STORE_UNAVAILABLE, "the store does not answer")
        }
    }
}
