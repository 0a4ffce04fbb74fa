//! A redrive, as far as the API says.

use std::io;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    ending::Ending,
    output::{Paint, Screen, clean, paint_of},
};

/// A redrive and how far it is.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) matched: u64,
    #[serde(default)]
    pub(super) sent: u64,
    #[serde(default)]
    pub(super) delivered: u64,
    #[serde(default)]
    pub(super) dead_lettered: u64,
    #[serde(default)]
    pub(super) remaining: u64,
    #[serde(default)]
    pub(super) created_at: Option<Timestamp>,
    /// Whatever else is said of it.
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl Job {
    /// Whether nothing moves any more unless somebody says so.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(&*self.status, "running" | "paused")
    }

    /// Whether all of it was delivered.
    pub(super) fn ending(&self) -> Ending {
        match &*self.status {
            "completed" if self.dead_lettered == 0 => Ending::Done,
            "running" | "paused" => Ending::Pending,
            _ => Ending::Bad,
        }
    }

    /// How far it is, in a line.
    pub(super) fn line(&self) -> String {
        let Self { status, matched, sent, delivered, dead_lettered, .. } = self;
        let dead = if *dead_lettered > 0 { format!(" · {dead_lettered} dead again") } else { String::new() };
        format!("{} · {sent} of {matched} sent · {delivered} delivered{dead}", clean(status))
    }
}

/// Shows all that is known of it.
///
/// # Errors
/// As [`Screen::line`].
pub(super) fn show(job: &Job, screen: Screen) -> io::Result<()> {
    screen.field("redrive", screen.paint(Paint::Bold, &clean(&job.id)))?;
    screen.field("status", screen.paint(paint_of(&job.status), &clean(&job.status)))?;
    for (name, number) in [("matched", job.matched), ("sent", job.sent), ("delivered", job.delivered)] {
        screen.field(name, number)?;
    }
    let paint = if job.dead_lettered > 0 { Paint::Bad } else { Paint::Plain };
    screen.field("dead again", screen.paint(paint, &job.dead_lettered.to_string()))?;
    screen.field("remaining", job.remaining)?;
    if let Some(created_at) = job.created_at {
        screen.field("started", screen.moment(created_at))?;
    }
    for (name, value) in &job.more {
        match value {
            // Nothing is not worth a line.
            Value::Null | Value::Bool(false) => {}
            Value::Array(items) if items.is_empty() => {}
            Value::Number(number) if number.as_u64() == Some(0) => {}
            Value::String(text) => screen.field(&clean(name), clean(text))?,
            other => screen.field(&clean(name), clean(&other.to_string()))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(status: &str, dead_lettered: u64) -> Job {
        let json = format!(
            r#"{{"id": "1", "status": "{status}", "matched": 9, "sent": 5, "delivered": 4,
                 "dead_lettered": {dead_lettered}, "remaining": 4, "created_at": "2026-11-24T06:00:00Z", "new": 1}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn only_a_redrive_that_delivered_all_has_ended_well() {
        for (status, dead_lettered, ending) in [
            ("completed", 0, Ending::Done),
            ("completed", 1, Ending::Bad),
            ("stopped", 0, Ending::Bad),
            ("cancelled", 0, Ending::Bad),
            ("running", 0, Ending::Pending),
            ("paused", 1, Ending::Pending),
        ] {
            let job = job(status, dead_lettered);
            assert_eq!((job.ending(), job.has_ended()), (ending, ending != Ending::Pending), "{status}");
        }
    }

    #[test]
    fn progress_is_told_in_a_line() {
        assert_eq!(job("running", 1).line(), "running · 5 of 9 sent · 4 delivered · 1 dead again");
    }
}
