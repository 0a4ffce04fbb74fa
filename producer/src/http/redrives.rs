//! `/v1/redrives`: jobs that send dead letters again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use common::{event::now, order::CorrelationId};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Accept, Api, Show, body,
    call::{Call, json_answer},
    edited_body::edited_body,
    headers::{self, IDEMPOTENCY_REPLAYED},
    new_redrive::{NewRedrive, NoRedrive},
    openapi,
    page::{List, Page},
    problem::{
        BODY_TOO_LARGE, BUSY, IDEMPOTENCY_KEY_REUSED, INTERNAL, INVALID_HEADER, INVALID_QUERY, INVALID_REDRIVE, Kind,
        MALFORMED_JSON, NOTHING_TO_REDRIVE, Problem, REDRIVE_NOT_POSSIBLE, REQUEST_TIMEOUT, STORE_UNAVAILABLE,
        UNKNOWN_REDRIVE, UNREADABLE_BODY, UNSUPPORTED_MEDIA_TYPE,
    },
    query::Query,
    schema,
};
use crate::{
    redrive::Wake,
    store::{
        Control, Controlled, Created, Filter, OUTCOMES, Plan, Redrive, RedriveStatus, Refused, Selection, StoreFault,
        Terms, Wish,
    },
};

/// What redrives need beside the desk.
#[derive(Clone, Debug, Default)]
pub struct Redriving {
    /// Tells the runner of what was asked.
    pub wake: Wake,
    /// How long each destination remembers a key; for ever where there is nothing.
    pub key_ttls: BTreeMap<String, Duration>,
}

/// Every way to refuse a new one.
pub(super) static CREATE_PROBLEMS: [&Kind; 12] = [
    &INVALID_HEADER,
    &UNREADABLE_BODY,
    &MALFORMED_JSON,
    &REQUEST_TIMEOUT,
    &BODY_TOO_LARGE,
    &UNSUPPORTED_MEDIA_TYPE,
    &INVALID_REDRIVE,
    &IDEMPOTENCY_KEY_REUSED,
    &NOTHING_TO_REDRIVE,
    &BUSY,
    &STORE_UNAVAILABLE,
    &INTERNAL,
];
/// Every way to refuse a list of them.
pub(super) static LIST_PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &INVALID_QUERY, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];
/// Every way to refuse to show one.
pub(super) static SHOW_PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &UNKNOWN_REDRIVE, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];
/// Every way to refuse to pause, resume or cancel one.
pub(super) static CONTROL_PROBLEMS: [&Kind; 6] =
    [&INVALID_HEADER, &UNKNOWN_REDRIVE, &REDRIVE_NOT_POSSIBLE, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// What a redrive would send.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanView {
    /// Exactly how many dead letters.
    pub(super) matched: u64,
    /// The first of them, at most 10.
    #[schema(max_items = 10)]
    pub(super) sample: Vec<schema::DeadLetterItem>,
    /// How many are not taken, and why.
    pub(super) refused: Vec<Refused>,
}

impl From<Plan> for PlanView {
    fn from(Plan { matched, sample, refused }: Plan) -> Self {
        Self { matched, sample: sample.into_iter().map(schema::DeadLetterItem::from).collect(), refused }
    }
}

/// A job, as it is shown.
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

/// Send dead letters again
///
/// A job that sends each dead letter to the queue of its one destination, under the key it had. What it
/// sends is fixed at this moment: what fails later is not in it. With `dry_run` nothing is sent, and the
/// answer tells exactly what would be. Archived dead letters are taken only where the filter asks for
/// them or an id names them. A dead letter whose key may have been forgotten by its destination is
/// refused unless `force`.
#[utoipa::path(
    post,
    path = "/v1/redrives",
    tag = "redrives",
    params(
        ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 512,
         description = "Makes it safe to send the request again."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    request_body(content = schema::NewRedrive, content_type = "application/json",
                 example = openapi::new_redrive_example),
    responses(
        (status = 200, description = "What would be sent; nothing is.", body = PlanView,
         content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::plan_example),
        (status = 201, description = "The job is stored and begins.", body = RedriveView,
         content_type = "application/json",
         headers(
             ("Location" = String, description = "Where the job is shown."),
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Idempotency-Replayed" = String,
              description = "`true` where the job was created by an earlier request under the same key.")
         ),
         example = openapi::redrive_example),
    ),
)]
pub(super) async fn create<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.create_redrive);
    let answer = created(&api, &call.correlation_id, sound, request).await;
    call.end(answer)
}

async fn created<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    sound: Result<(), Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let json = sound.and_then(|()| headers::json_body(&head.headers));
    let key = match json.and_then(|()| headers::idempotency_key(&head.headers)) {
        Ok(key) => key,
        Err(problem) => {
            body::discard(&head.headers, body).await;
            return Err(problem);
        }
    };
    let body = api.bodies.read(&head.headers, body).await?;
    let asked = NewRedrive::read(&body).map_err(|reason| match reason {
        NoRedrive::Malformed(words) => Problem::new(&MALFORMED_JSON, words),
        NoRedrive::Invalid(faults) => Problem::faulty(&INVALID_REDRIVE, "redrive", faults),
    })?;
    let failed = |fault| failed(fault, correlation_id);
    let idempotency = key.map(|key| api.keys.of_redrive(key, asked.fingerprint()));
    let edited = match (&asked.body, &asked.selection) {
        (Some(body), Selection::Ids(ids)) => {
            let original = match ids.first() {
                Some(id) => api.desk.dead_letter(*id).await.map_err(failed)?,
                None => None,
            };
            original.map(|original| edited_body(body, &original, asked.new_key)).transpose()?
        }
        _ => None,
    };
    let wish =
        Wish { selection: asked.selection, destinations: remembered(api), force: asked.force, new_key: asked.new_key };
    if asked.dry_run {
        let plan = api.desk.plan_redrive(wish).await.map_err(failed)?;
        return json_answer(StatusCode::OK, &PlanView::from(plan));
    }
    let terms = Terms {
        rate: asked.rate,
        concurrency: asked.concurrency,
        stop_after_failed_share: asked.stop_after_failed_share,
        body: edited,
        new_key: asked.new_key,
        idempotency,
    };
    let (redrive, replayed) = match api.desk.create_redrive(wish, terms).await.map_err(failed)? {
        Created::New(redrive) => (redrive, false),
        Created::Replayed(redrive) => (redrive, true),
        Created::KeyReused => {
            return Err(Problem::new(&IDEMPOTENCY_KEY_REUSED, "Idempotency-Key stands for another redrive"));
        }
        Created::Nothing(refused) => return Err(Problem::new(&NOTHING_TO_REDRIVE, nothing(&refused))),
    };
    if !replayed {
        tracing::info!(redrive = %redrive.id, matched = redrive.matched, %correlation_id, "a redrive begins");
        api.redriving.wake.wake();
    }
    let location = format!("/v1/redrives/{}", redrive.id);
    let mut response = json_answer(StatusCode::CREATED, &RedriveView::from(*redrive))?;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if replayed {
        response.headers_mut().insert(&IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Each destination, and when a key was first used at the latest so that it is remembered there.
fn remembered<A, S>(api: &Api<A, S>) -> BTreeMap<String, Option<Timestamp>> {
    let from = |name: &String| {
        let ttl = api.redriving.key_ttls.get(name)?;
        now().checked_sub(SignedDuration::try_from(*ttl).ok()?).ok()
    };
    let destinations = api.pending.keys().map(|name| (name.clone(), from(name)));
    destinations.chain([(OUTCOMES.to_owned(), None)]).collect()
}

fn nothing(refused: &[Refused]) -> String {
    if refused.is_empty() {
        return "no dead letter matches".to_owned();
    }
    let reasons: Vec<_> = refused.iter().map(|of| format!("{} for {}", of.count, of.reason.as_str())).collect();
    let hint = if refused.iter().any(|of| of.reason == crate::store::Refusal::KeyExpired) {
        "; with force they are sent although their key may have been forgotten"
    } else {
        ""
    };
    format!("every dead letter that matches is refused: {}{hint}", reasons.join(", "))
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
/// A job as it is now, with its progress.
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
        (status = 200, description = "The job.", body = RedriveView, content_type = "application/json",
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
    let id = id(path, 3).ok_or_else(unknown)?;
    let found = api.desk.redrive(id).await.map_err(|fault| failed(fault, correlation_id))?;
    json_answer(StatusCode::OK, &RedriveView::from(found.ok_or_else(unknown)?))
}

/// Pause a redrive
///
/// Nothing more is sent until it is resumed; what was sent runs on.
#[utoipa::path(
    post,
    path = "/v1/redrives/{redrive_id}/pause",
    tag = "redrives",
    params(
        ("redrive_id" = Uuid, Path, description = "The id that was answered when it was created."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The job, paused.", body = RedriveView, content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::redrive_example),
    ),
)]
pub(super) async fn pause<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    control(&api, request, Control::Pause).await
}

/// Resume a redrive
///
/// Goes on with one that was paused or has stopped by itself. What failed before does not stop it again.
#[utoipa::path(
    post,
    path = "/v1/redrives/{redrive_id}/resume",
    tag = "redrives",
    params(
        ("redrive_id" = Uuid, Path, description = "The id that was answered when it was created."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The job, running.", body = RedriveView, content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::redrive_example),
    ),
)]
pub(super) async fn resume<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    control(&api, request, Control::Resume).await
}

/// Cancel a redrive
///
/// What was sent runs on; the rest waits as before.
#[utoipa::path(
    post,
    path = "/v1/redrives/{redrive_id}/cancel",
    tag = "redrives",
    params(
        ("redrive_id" = Uuid, Path, description = "The id that was answered when it was created."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The job, cancelled.", body = RedriveView, content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::redrive_example),
    ),
)]
pub(super) async fn cancel<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    control(&api, request, Control::Cancel).await
}

async fn control<A: Accept, S: Show>(api: &Api<A, S>, request: Request, control: Control) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.control_redrive);
    let answer = match sound {
        Ok(()) => controlled(api, &call.correlation_id, request.uri().path(), control).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn controlled<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    path: &str,
    control: Control,
) -> Result<Response, Problem> {
    let id = id(path, 3).ok_or_else(unknown)?;
    let done = api.desk.control_redrive(id, control).await.map_err(|fault| failed(fault, correlation_id))?;
    match done {
        Controlled::Done(redrive) => {
            tracing::info!(redrive = %id, status = redrive.status.as_str(), %correlation_id, "a redrive was told");
            api.redriving.wake.wake();
            json_answer(StatusCode::OK, &RedriveView::from(*redrive))
        }
        Controlled::Unknown => Err(unknown()),
        Controlled::NotPossible(status) => {
            Err(Problem::new(&REDRIVE_NOT_POSSIBLE, format!("the redrive is {}", status.as_str())))
        }
    }
}

fn unknown() -> Problem {
    Problem::new(&UNKNOWN_REDRIVE, "no redrive has this id")
}

fn failed(fault: StoreFault, correlation_id: &CorrelationId) -> Problem {
    match fault {
        StoreFault::Busy => Problem::new(&BUSY, "too many requests are waiting"),
        fault => {
            tracing::error!(%correlation_id, %fault, "redrives could not be read or written");
            Problem::new(&STORE_UNAVAILABLE, "the store does not answer")
        }
    }
}

/// The id at this segment of the path, taken by hand: what is no id is a job that does not exist.
fn id(path: &str, segment: usize) -> Option<Uuid> {
    let text = path.split('/').nth(segment).filter(|text| text.len() == 36)?;
    Uuid::try_parse(text).ok()
}
