//! `GET /v1/dead-letters/{id}`: one with everything.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use common::{
    order::{CorrelationId, OrderId},
    outcome::{Attempt, Reason},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Accept, Api, Show,
    call::{Call, id, json_answer, unanswered},
    openapi,
    problem::{BUSY, INTERNAL, INVALID_HEADER, Kind, Problem, STORE_UNAVAILABLE, UNKNOWN_DEAD_LETTER},
};
use store::{Content, DeadLetter, Link, Opened, State as LetterState};

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &UNKNOWN_DEAD_LETTER, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// How a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum BodyEncoding {
    /// As it is.
    Utf8,
    /// It is no text.
    Base64,
}

/// A dead letter with everything.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct DeadLetterView {
    /// Its id.
    id: Uuid,
    /// The order, where the body names one.
    #[schema(value_type = Option<Uuid>)]
    order_id: Option<OrderId>,
    /// Whose queue it died in; `outcomes` is the queue of reports.
    destination: String,
    /// Where it is.
    state: LetterState,
    /// Why it died.
    reason: Reason,
    /// The last attempt's status.
    status_code: Option<u16>,
    /// What went wrong last, where it was no status.
    error: Option<String>,
    /// When the delivery ended.
    #[schema(value_type = String, format = DateTime)]
    failed_at: Timestamp,
    /// Every attempt so far, oldest first.
    attempts: Vec<Attempt>,
    /// How many times it was sent again.
    redrives: u32,
    /// Whether it is archived.
    archived: bool,
    /// When it was archived.
    #[schema(value_type = Option<String>, format = DateTime)]
    archived_at: Option<Timestamp>,
    /// What was noted then.
    note: Option<String>,
    /// The body, as it was in the queue.
    body: String,
    /// How the body is told.
    body_encoding: BodyEncoding,
    /// The headers, without x-death. What JSON has no word for is an object with one field: `$bytes`
    /// (base64), `$timestamp` (RFC 3339), `$decimal`, `$float`.
    #[schema(value_type = Object)]
    headers: Map<String, Value>,
    /// The properties that were set.
    #[schema(value_type = Object)]
    properties: Map<String, Value>,
    /// The broker's x-death, newest first.
    #[schema(value_type = Vec<Object>)]
    deaths: Vec<Value>,
    /// From the first failure to the latest, this one among them.
    lineage: Vec<Link>,
}

impl From<Opened> for DeadLetterView {
    fn from(Opened { letter, content, lineage }: Opened) -> Self {
        let DeadLetter { id, order_id, origin, state, reason, status_code, error, failed_at, .. } = letter;
        let Content { body, headers, properties, deaths } = content;
        let (body, body_encoding) = match String::from_utf8(body) {
            Ok(text) => (text, BodyEncoding::Utf8),
            Err(fault) => (BASE64.encode(fault.as_bytes()), BodyEncoding::Base64),
        };
        Self {
            id,
            order_id,
            destination: origin.to_string(),
            state,
            reason,
            status_code,
            error,
            failed_at,
            attempts: letter.attempts,
            redrives: letter.redrives,
            archived: letter.archived_at.is_some(),
            archived_at: letter.archived_at,
            note: letter.note,
            body,
            body_encoding,
            headers,
            properties,
            deaths,
            lineage,
        }
    }
}

/// Show a dead letter
///
/// One with everything that came from the queue, wherever it is: it is shown also when it was sent again.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}",
    tag = "dead letters",
    params(
        ("id" = Uuid, Path, description = "The id of the dead letter, as it is listed."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The dead letter.", body = DeadLetterView, content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::dead_letter_example),
    ),
)]
pub(super) async fn show_dead_letter<A: Accept, S: Show>(
    State(api): State<Arc<Api<A, S>>>,
    request: Request,
) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.show_dead_letter);
    let answer = match sound {
        Ok(()) => answer(&api, &call.correlation_id, request.uri().path()).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn answer<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    path: &str,
) -> Result<Response, Problem> {
    let id = id(path).ok_or_else(unknown)?;
    let found = api.desk.dead_letter(id).await.map_err(|fault| unanswered("dead letters", &fault, correlation_id))?;
    json_answer(StatusCode::OK, &DeadLetterView::from(found.ok_or_else(unknown)?))
}

pub(super) fn unknown() -> Problem {
    Problem::new(&UNKNOWN_DEAD_LETTER, "no dead letter has this id")
}
