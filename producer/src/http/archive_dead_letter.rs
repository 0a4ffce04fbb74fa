//! `POST /v1/dead-letters/{id}/archive` and `/unarchive`: out of the list with a note, and back.

use std::sync::Arc;

use api::{DeadLetterItem, Note};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use common::order::CorrelationId;
use serde::de::MapAccess;
use uuid::Uuid;

use super::{
    Accept, Api, Show, body,
    call::{Call, id, json_answer, unanswered},
    faults::{Faults, Flaw, Pointer},
    headers,
    json::{self, Shape, fields},
    openapi,
    problem::{
        BODY_TOO_LARGE, BUSY, DEAD_LETTER_NOT_WAITING, INTERNAL, INVALID_HEADER, INVALID_NOTE, Kind, MALFORMED_JSON,
        NESTED_TOO_DEEPLY, Problem, REQUEST_TIMEOUT, STORE_UNAVAILABLE, UNKNOWN_DEAD_LETTER, UNREADABLE_BODY,
        UNSUPPORTED_MEDIA_TYPE,
    },
    show_dead_letter::unknown,
};
use crate::views;
use store::{Archiving, State as LetterState, StoreFault};

/// Every way to refuse to archive.
pub(super) static PROBLEMS: [&Kind; 13] = [
    &INVALID_HEADER,
    &UNREADABLE_BODY,
    &MALFORMED_JSON,
    &NESTED_TOO_DEEPLY,
    &UNKNOWN_DEAD_LETTER,
    &REQUEST_TIMEOUT,
    &DEAD_LETTER_NOT_WAITING,
    &BODY_TOO_LARGE,
    &UNSUPPORTED_MEDIA_TYPE,
    &INVALID_NOTE,
    &BUSY,
    &STORE_UNAVAILABLE,
    &INTERNAL,
];

/// Longest note, in characters.
pub(super) const MAX_NOTE_CHARS: usize = 1_000;

/// Archive a dead letter
///
/// It leaves the list, with a note that says why, and is not sent again unless somebody asks for
/// archived ones. It stays dead, and so does its delivery. Archived again, it gets the new note.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/archive",
    tag = "dead letters",
    params(
        ("id" = Uuid, Path, description = "The id of the dead letter, as it is listed."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    request_body(content = Option<Note>, content_type = "application/json", example = openapi::note_example),
    responses(
        (status = 200, description = "It is archived.", body = DeadLetterItem, content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::archived_example),
    ),
)]
pub(super) async fn archive_dead_letter<A: Accept, S: Show>(
    State(api): State<Arc<Api<A, S>>>,
    request: Request,
) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.archive_dead_letter);
    let answer = answer(&api, &call.correlation_id, sound, request, true).await;
    call.end(answer)
}

/// Put a dead letter back
///
/// It is in the list again, without its note. One that is not archived stays as it is. The same body is
/// taken, and its note is not kept.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/unarchive",
    tag = "dead letters",
    params(
        ("id" = Uuid, Path, description = "The id of the dead letter, as it is listed."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    request_body(content = Option<Note>, content_type = "application/json", example = openapi::note_example),
    responses(
        (status = 200, description = "It is in the list.", body = DeadLetterItem, content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::dead_letter_item_example),
    ),
)]
pub(super) async fn unarchive_dead_letter<A: Accept, S: Show>(
    State(api): State<Arc<Api<A, S>>>,
    request: Request,
) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.unarchive_dead_letter);
    let answer = answer(&api, &call.correlation_id, sound, request, false).await;
    call.end(answer)
}

async fn answer<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    sound: Result<(), Problem>,
    request: Request,
    archive: bool,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let id = match sound.and_then(|()| id(head.uri.path()).ok_or_else(unknown)) {
        Ok(id) => id,
        Err(problem) => {
            body::discard(&head.headers, body).await;
            return Err(problem);
        }
    };
    let body = api.bodies.read(&head.headers, body).await?;
    let note = if body.is_empty() {
        None
    } else {
        headers::json_body(&head.headers)?;
        let invalid = |faults| Problem::faulty(&INVALID_NOTE, "note", faults);
        json::read::<NoteShape>(&body).map_err(|unread| unread.problem(invalid))?
    };
    let archived = if archive { api.desk.archive(id, note).await } else { api.desk.unarchive(id).await };
    done(archived, id, correlation_id)
}

fn done(
    archived: Result<Archiving, StoreFault>,
    id: Uuid,
    correlation_id: &CorrelationId,
) -> Result<Response, Problem> {
    match archived.map_err(|fault| unanswered("dead letters", &fault, correlation_id))? {
        Archiving::Done(letter) => {
            tracing::info!(dead_letter = %id, archived = letter.archived_at.is_some(), %correlation_id, "by request");
            json_answer(StatusCode::OK, &views::dead_letter::item(*letter))
        }
        Archiving::Unknown => Err(unknown()),
        Archiving::Elsewhere(state) => Err(Problem::new(
            &DEAD_LETTER_NOT_WAITING,
            match state {
                LetterState::Redriving => "it is being sent again",
                LetterState::Redriven => "it was sent again, and is dead again as a later one",
                LetterState::Delivered => "its destination has accepted it",
                LetterState::Dead => "it has just changed",
            },
        )),
    }
}

struct NoteShape;

impl<'de> Shape<'de> for NoteShape {
    type Out = Option<String>;
    const WANTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(
        mut object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        fields!(object, at, faults, { note: NoteText });
        Ok(Some(note.optional().flatten()))
    }
}

/// The text of a note, or null for none.
struct NoteText;

impl Shape<'_> for NoteText {
    type Out = Option<String>;
    const WANTED: &'static str = "a string";

    fn null() -> Result<Self::Out, Flaw> {
        Ok(None)
    }

    fn text(text: &str) -> Result<Self::Out, Flaw> {
        let valid = (1..=MAX_NOTE_CHARS).contains(&text.chars().count()) && !text.contains('\0');
        let rule = || Flaw::rule(format!("must have 1 to {MAX_NOTE_CHARS} characters, none of them U+0000"));
        if valid { Ok(Some(text.to_owned())) } else { Err(rule()) }
    }
}
