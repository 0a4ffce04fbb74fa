//! `POST /v1/dead-letters/{id}/archive` and `/unarchive`: out of the list with a note, and back.

use std::sync::Arc;

use api::{DeadLetterItem, DeadLetterState, Note};
use axum::{
    extract::{Extension, State},
    http::StatusCode,
    response::Response,
};
use common::order::CorrelationId;
use serde::de::MapAccess;
use store::Archiving;
use uuid::Uuid;

use super::{examples, unknown};
use crate::{
    http::{
        Api,
        edge::{
            body::{Json, Payload},
            correlation::Correlated,
            faults::{Faults, Flaw, Pointer},
            json::{Shape, fields},
            path::PathId,
            problem::{BODY, DEAD_LETTER_NOT_WAITING, INVALID_NOTE, Problem, STORE, UNKNOWN_DEAD_LETTER, problems},
            response::json,
        },
    },
    views,
};

problems!(Refusals: BODY, STORE, [&UNKNOWN_DEAD_LETTER, &DEAD_LETTER_NOT_WAITING, &INVALID_NOTE]);

/// Longest note, in characters.
const MAX_NOTE_CHARS: usize = 1_000;

/// Archive a dead letter
///
/// It leaves the list, with a note that says why, and is not sent again unless a redrive asks for archived
/// ones. It stays dead, and so does its delivery. Archived again, it gets the new note.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/archive",
    tag = "dead letters",
    params(("id" = Uuid, Path, description = "The id of the dead letter, as it is listed.")),
    request_body(content = Option<Note>, content_type = "application/json", example = examples::note),
    responses(
        (status = 200, description = "It is archived.", body = DeadLetterItem, content_type = "application/json",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::archived),
        Refusals,
    ),
)]
pub(super) async fn archive_dead_letter(
    State(api): State<Arc<Api>>,
    Extension(correlation_id): Correlated,
    PathId(id): PathId,
    note: Option<Json<NoteShape>>,
) -> Result<Response, Problem> {
    let id = id.ok_or_else(unknown)?;
    let archived = api.desk.archive(id, note.and_then(|Json(note)| note)).await?;
    respond(archived, id, &correlation_id)
}

/// Put a dead letter back
///
/// It is in the list again, without its note. One that is not archived stays as it is. The same body is
/// accepted, and its note is not kept.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/unarchive",
    tag = "dead letters",
    params(("id" = Uuid, Path, description = "The id of the dead letter, as it is listed.")),
    request_body(content = Option<Note>, content_type = "application/json", example = examples::note),
    responses(
        (status = 200, description = "It is in the list.", body = DeadLetterItem, content_type = "application/json",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::item),
        Refusals,
    ),
)]
pub(super) async fn unarchive_dead_letter(
    State(api): State<Arc<Api>>,
    Extension(correlation_id): Correlated,
    PathId(id): PathId,
    _: Option<Json<NoteShape>>,
) -> Result<Response, Problem> {
    let id = id.ok_or_else(unknown)?;
    respond(api.desk.unarchive(id).await?, id, &correlation_id)
}

fn respond(archived: Archiving, id: Uuid, correlation_id: &CorrelationId) -> Result<Response, Problem> {
    let state = match archived {
        Archiving::Done(letter) => {
            let archived = letter.archived_at.is_some();
            tracing::info!(dead_letter = %id, archived, %correlation_id, "dead letter archived or put back");
            return json(StatusCode::OK, &views::dead_letter::item(*letter));
        }
        Archiving::Unknown => return Err(unknown()),
        Archiving::Elsewhere(state) => state,
    };
    let detail = match state {
        DeadLetterState::Redriving => "it is being sent again",
        DeadLetterState::Redriven => "it was sent again, and is dead again as a later one",
        DeadLetterState::Delivered => "its destination has accepted it",
        DeadLetterState::Dead => "it has just changed",
    };
    Err(Problem::new(&DEAD_LETTER_NOT_WAITING, detail))
}

/// The body: an object with a note, if any.
#[derive(Debug)]
pub(super) struct NoteShape;

impl Payload for NoteShape {
    fn invalid(faults: Faults) -> Problem {
        Problem::invalid(&INVALID_NOTE, "note", faults)
    }
}

impl Shape for NoteShape {
    type Out = Option<String>;
    const WANTED: &'static str = "an object";

    fn object<'de, A: MapAccess<'de>>(
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

impl Shape for NoteText {
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
