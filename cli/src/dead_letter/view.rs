//! Dead letters, laid out for people.

use std::io;

use api::{BodyEncoding, DeadLetter, DeadLetterItem, Reason, Word};
use serde_json::Value;

use crate::{
    order::attempt,
    output::{Cell, Column, Paint, Screen, Shown, clean, members},
};

/// The columns of a list.
pub(super) const COLUMNS: [Column; 4] =
    [Column::new("DEAD LETTER"), Column::new("DESTINATION"), Column::squeezed("CAUSE"), Column::new("FAILED")];

/// Why it was dead-lettered, in a few words.
pub(super) fn cause(
    reason: &Word<Reason>,
    status_code: Option<u16>,
    error: Option<&str>,
    answer: Option<&str>,
) -> String {
    let code = status_code.map(|code| code.to_string());
    // What distinguishes causes comes first: the end may be cut off.
    [code.as_deref(), Some(reason.as_str()), error, answer].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A row of a list.
pub(super) fn row(letter: &DeadLetterItem, screen: Screen) -> Vec<Cell> {
    let redriven = if letter.redrives == 0 { String::new() } else { format!(" (redriven {} ×)", letter.redrives) };
    vec![
        Cell::new(&letter.id),
        Cell::new(&letter.destination),
        Cell::new(format!("{}{redriven}", cause_of(letter))),
        Cell::dim(screen.time(letter.failed_at)),
    ]
}

/// A dead letter in a line, outside of a table.
pub(crate) fn line(letter: &DeadLetterItem, screen: Screen) -> String {
    let (id, destination, cause) = (clean(&letter.id), clean(&letter.destination), clean(&cause_of(letter)));
    format!("{id}  {destination}  {cause}  {}", screen.time(letter.failed_at))
}

fn cause_of(letter: &DeadLetterItem) -> String {
    cause(&letter.reason, letter.status_code, letter.error.as_deref(), letter.answer.as_deref())
}

/// Shows a dead letter with everything.
///
/// # Errors
/// As [`Screen::line`].
pub(super) fn show(Shown { known: letter, more }: &Shown<DeadLetter>, screen: Screen) -> io::Result<()> {
    let cause = cause(&letter.reason, letter.status_code, letter.error.as_deref(), letter.answer.as_deref());
    screen.field("dead letter", screen.paint(Paint::Bold, &clean(&letter.id)))?;
    screen.field("order", clean(letter.order_id.as_deref().unwrap_or("none that can be read")))?;
    screen.field("destination", clean(&letter.destination))?;
    screen.field("cause", screen.paint(Paint::Bad, &clean(&cause)))?;
    screen.field("failed", screen.moment(letter.failed_at))?;
    screen.field("state", clean(letter.state.as_str()))?;
    screen.field("redrives", letter.redrives)?;
    match letter.archived_at {
        Some(at) => screen.field("archived", screen.moment(at))?,
        None => screen.field("archived", if letter.archived { "yes" } else { "no" })?,
    }
    if let Some(note) = &letter.note {
        screen.field("note", clean(note))?;
    }
    for (index, one) in letter.attempts.iter().enumerate() {
        screen.field(if index == 0 { "attempts" } else { "" }, attempt(one, screen))?;
    }
    screen.member("headers", &letter.headers.clone().into())?;
    screen.member("properties", &letter.properties.clone().into())?;
    screen.member("deaths", &letter.deaths.clone().into())?;
    screen.member("lineage", &serde_json::to_value(&letter.lineage)?)?;
    members(more, screen)?;
    match &letter.body_encoding {
        // JSON is easier to read with its structure; anything else is printed as it is.
        Word::Known(BodyEncoding::Utf8) => match serde_json::from_str(&letter.body) {
            Ok(body @ (Value::Object(_) | Value::Array(_))) => screen.member("body", &body),
            _ => screen.field("body", clean(&letter.body)),
        },
        encoding => screen.field(&format!("body ({})", clean(encoding.as_str())), clean(&letter.body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_begins_with_what_distinguishes_it() {
        assert_eq!(cause(&Reason::Rejected.into(), Some(422), None, Some("Sold out")), "422 rejected Sold out");
        assert_eq!(
            cause(&Reason::AttemptsExhausted.into(), None, Some("connection refused"), None),
            "attempts_exhausted connection refused"
        );
    }

    #[test]
    fn members_of_a_newer_version_are_kept() {
        let json = r#"{"id": "1", "order_id": null, "destination": "n", "state": "on_hold", "reason": "a_new_reason",
            "status_code": null, "error": null, "failed_at": "2026-11-24T06:00:00Z", "attempts": [], "redrives": 0,
            "archived": false, "archived_at": null, "note": null, "body": "x", "body_encoding": "base64",
            "headers": {}, "properties": {}, "deaths": [{"count": 1}], "lineage": [], "new": 1}"#;
        let Shown { known, more } = serde_json::from_str::<Shown<DeadLetter>>(json).unwrap();
        assert_eq!((known.reason.as_str(), known.state.as_str()), ("a_new_reason", "on_hold"));
        assert_eq!(Value::from(more), serde_json::json!({"new": 1}));
    }
}
