//! `GET /v1/redrives` and `/v1/redrives/{id}`: redrives, and how far they are.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use common::order::CorrelationId;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Accept, Api, Show,
    call::{Call, id, json_answer},
    openapi,
    page::{List, Page},
    problem::{BUSY, INTERNAL, INVALID_HEADER, INVALID_QUERY, Kind, Problem, STORE_UNAVAILABLE, UNKNOWN_REDRIVE},
    query::Query,
    schema,
};
use store::{Filter, Redrive, RedriveStatus, Refused, Selection, StoreFault};

/// Every way to refuse a list of them.
pub(super) static LIST_PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &INVALID_QUERY, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];
/// Every way to refuse to show one.
pub(super) static SHOW_PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &UNKNOWN_REDRIVE, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// A redrive, as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Redrive)]
pub(super) struct RedriveView {
    /// Its id.
    pub(super) id: Uuid,
    /// How far it is.
    pub(super) status: RedriveStatus,
    /// Why it stopped; set exactly then.
    pub(super) detail: Option<String>,
    /// What was asked for; null where the dead letters were named by their ids.
    #[schema(value_type = Option<schema::DeadLetterFilter>)]
    pub(super) filter: Option<Filter>,
    /// Dead letters a second.
    pub(super) rate: f64,
    /// Most that are sent and have not ended.
    pub(super) concurrency: u32,
    /// It stops by itself when more than this share of the last 20 that ended failed again.
    pub(super) stop_after_failed_share: f64,
    /// Whether another body is sent than the dead letter's own.
    pub(super) edited: bool,
    /// Whether it is sent under another key.
    pub(super) new_key: bool,
    /// How many dead letters it has, fixed when it was created.
    pub(super) matched: u64,
    /// How many the broker has taken.
    pub(super) sent: u64,
    /// How many their destination has accepted.
    pub(super) delivered: u64,
    /// How many are dead again.
    pub(super) dead_lettered: u64,
    /// How many were not sent, because it was cancelled.
    pub(super) cancelled: u64,
    /// How many have not ended: waiting to be sent, or on their way.
    pub(super) remaining: u64,
    /// How many dead letters were not taken, and why.
    pub(super) refused: Vec<Refused>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_at: Timestamp,
    /// When its status changed last.
    #[schema(value_type = String, format = DateTime)]
    pub(super) updated_at: Timestamp,
}

impl From<Redrive> for RedriveView {
    fn from(redrive: Redrive) -> Self {
        let progress = redrive.progress;
        Self {
            id: redrive.id,
            status: redrive.status,
            detail: redrive.detail,
            filter: match redrive.selection {
                Selection::Filter(filter) => Some(filter),
                Selection::Ids(_) => None,
            },
            rate: redrive.rate,
            concurrency: redrive.concurrency,
            stop_after_failed_share: redrive.stop_after_failed_share,
            edited: redrive.edited,
            new_key: redrive.new_key,
            matched: redrive.matched,
            sent: progress.sent + progress.delivered + progress.dead_lettered,
            delivered: progress.delivered,
            dead_lettered: progress.dead_lettered,
            cancelled: progress.cancelled,
            remaining: progress.queued + progress.under_way(),
            refused: redrive.refused,
            created_at: redrive.created_at,
            updated_at: redrive.updated_at,
        }
    }
}

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
        (status = 200, description = "One page.", body = List<RedriveView>, content_type = "application/json",
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
    let items: Vec<_> = found.into_iter().map(RedriveView::from).collect();
    json_answer(StatusCode::OK, &List::page(items, page.limit, |last| last.id.as_bytes().to_vec()))
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
        (status = 200, description = "The redrive.", body = RedriveView, content_type = "application/json",
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
    json_answer(StatusCode::OK, &RedriveView::from(found.ok_or_else(unknown)?))
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
