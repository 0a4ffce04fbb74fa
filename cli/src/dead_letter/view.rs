//! A dead letter as it is shown.

use std::io;

use common::outcome::Attempt;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    order::attempt,
    output::{Cell, Column, Paint, Screen, clean},
};

/// The columns of a list.
pub(crate) const COLUMNS: [Column; 4] =
    [Column::new("DEAD LETTER"), Column::new("DESTINATION"), Column::squeezed("CAUSE"), Column::new("FAILED")];

/// A dead letter; one by itself has more than one in a list.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DeadLetter {
    pub(crate) id: String,
    #[serde(default)]
    order_id: Option<String>,
    #[serde(default)]
    destination: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    status_code: Option<u16>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    failed_at: Option<Timestamp>,
    #[serde(default)]
    attempts: Vec<Attempt>,
    #[serde(default)]
    redrives: u64,
    #[serde(default)]
    archived: Value,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    body_encoding: Option<String>,
    /// Whatever else is said of it.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// Why it is one, in a few words.
pub(crate) fn cause(reason: Option<&str>, status_code: Option<u16>, error: Option<&str>) -> String {
    let code = status_code.map(|code| code.to_string());
    // What tells causes apart comes first: the end may be cut off.
    let parts = [code.as_deref().unwrap_or_default(), reason.unwrap_or_default(), error.unwrap_or_default()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A line of a list.
pub(super) fn row(letter: &DeadLetter, screen: Screen) -> Vec<Cell> {
    let redriven = if letter.redrives == 0 { String::new() } else { format!(" (redriven {} ×)", letter.redrives) };
    vec![
        Cell::new(&letter.id),
        Cell::new(&letter.destination),
        Cell::new(format!("{}{redriven}", letter.cause())),
        Cell::dim(letter.failed_at.map(|at| screen.time(at)).unwrap_or_default()),
    ]
}

impl DeadLetter {
    /// Why it is one, in a few words.
    pub(crate) fn cause(&self) -> String {
        cause(self.reason.as_deref(), self.status_code, self.error.as_deref())
    }

    /// In a line by itself.
    pub(crate) fn line(&self, screen: Screen) -> String {
        let failed = self.failed_at.map(|at| screen.time(at)).unwrap_or_default();
        format!("{}  {}  {}  {failed}", clean(&self.id), clean(&self.destination), clean(&self.cause()))
    }
}

/// Shows all that is known of it.
///
/// # Errors
/// As [`Screen::line`].
pub(super) fn show(letter: &DeadLetter, screen: Screen) -> io::Result<()> {
    screen.field("dead letter", screen.paint(Paint::Bold, &clean(&letter.id)))?;
    screen.field("order", clean(letter.order_id.as_deref().unwrap_or("none that can be read")))?;
    screen.field("destination", clean(&letter.destination))?;
    screen.field("cause", screen.paint(Paint::Bad, &clean(&letter.cause())))?;
    if let Some(failed_at) = letter.failed_at {
        screen.field("failed", screen.moment(failed_at))?;
    }
    screen.field("redrives", letter.redrives)?;
    let archived = match &letter.archived {
        Value::Null | Value::Bool(false) => "no".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        other => clean(&other.to_string()),
    };
    screen.field("archived", archived)?;
    for (index, one) in letter.attempts.iter().enumerate() {
        screen.field(if index == 0 { "attempts" } else { "" }, attempt(one, screen))?;
    }
    // Null and nothing are the same to a reader.
    let is_something = |value: &&Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    for (name, value) in &letter.more {
        if Some(value).filter(is_something).is_none() {
            continue;
        }
        match value {
            Value::Array(_) | Value::Object(_) => block(name, value, screen)?,
            Value::String(text) => screen.field(name, clean(text))?,
            other => screen.field(name, other)?,
        }
    }
    match (&letter.body, letter.body_encoding.as_deref()) {
        (Value::Null, _) => Ok(()),
        (Value::String(text), None | Some("utf-8" | "utf8" | "text" | "json")) => {
            // JSON is easier to read with its structure; what is none stays as it is.
            match serde_json::from_str::<Value>(text) {
                Ok(body @ (Value::Object(_) | Value::Array(_))) => block("body", &body, screen),
                _ => screen.field("body", clean(text)),
            }
        }
        (Value::String(text), Some(encoding)) => screen.field(&format!("body ({})", clean(encoding)), clean(text)),
        (body, _) => block("body", body, screen),
    }
}

fn block(name: &str, value: &Value, screen: Screen) -> io::Result<()> {
    screen.field(&clean(name), "")?;
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines().try_for_each(|line| screen.line(format_args!("  {}", clean(line))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_by_what_is_known_of_it() {
        assert_eq!(cause(Some("rejected"), Some(422), None), "422 rejected");
        assert_eq!(
            cause(Some("attempts_exhausted"), None, Some("connection refused")),
            "attempts_exhausted connection refused"
        );
        assert_eq!(cause(None, None, None), "");
    }

    #[test]
    fn a_dead_letter_is_read_with_members_that_are_new() {
        let json = r#"{"id": "1", "order_id": null, "destination": "n", "reason": "unreadable", "status_code": null,
            "error": null, "failed_at": "2026-11-24T06:00:00Z", "attempts": [], "redrives": 0, "archived": false,
            "body": "x", "body_encoding": "base64", "deaths": [{"count": 1}], "new": 1}"#;
        let letter: DeadLetter = serde_json::from_str(json).unwrap();
        assert_eq!((letter.cause(), letter.more.len()), ("unreadable".to_owned(), 2));
    }
}
