//! A report, line by line: a line that cannot be read, because a newer version wrote it, costs its neighbours nothing.

use common::{
    event::Unreadable,
    origin::Origin,
    outcome::{Reason, Report},
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{json, value::RawValue};
use sha2::{Digest as _, Sha256};
use store::{Collected, Content};
use uuid::Uuid;

/// What a report says.
#[derive(Debug)]
pub(super) struct Lines {
    /// The lines that can be read.
    pub(super) report: Report,
    /// The others.
    pub(super) aside: Vec<Aside>,
}

/// A line that cannot be read.
#[derive(Debug)]
pub(super) struct Aside {
    /// A report with this line alone: sent again, it is recorded by a version that can read it.
    body: Vec<u8>,
    fault: Unreadable,
}

/// Reads a report.
///
/// # Errors
/// It is no report, or none of its lines can be read: then nothing is gained by keeping them apart.
pub(super) fn read(body: &[u8]) -> Result<Lines, Unreadable> {
    let fault = match serde_json::from_slice(body) {
        Ok(report) => return Ok(Lines { report, aside: Vec::new() }),
        Err(fault) => Unreadable::from(fault),
    };
    let Ok(raw) = serde_json::from_slice::<Report<&RawValue, &RawValue>>(body) else { return Err(fault) };
    let mut aside = Vec::new();
    let outcomes = readable(raw.outcomes, &mut aside, |line| Report { outcomes: vec![line], progress: Vec::new() });
    let progress = readable(raw.progress, &mut aside, |line| Report { outcomes: Vec::new(), progress: vec![line] });
    if outcomes.is_empty() && progress.is_empty() {
        return Err(fault);
    }
    Ok(Lines { report: Report { outcomes, progress }, aside })
}

/// The lines that can be read; the others are set aside, each in a report of its own.
fn readable<'a, T: DeserializeOwned>(
    lines: Vec<&'a RawValue>,
    aside: &mut Vec<Aside>,
    alone: impl Fn(&'a RawValue) -> Report<&'a RawValue, &'a RawValue>,
) -> Vec<T> {
    let mut known = Vec::with_capacity(lines.len());
    for line in lines {
        match serde_json::from_str(line.get()) {
            Ok(line) => known.push(line),
            Err(fault) => {
                // What was just read can be written.
                let body = serde_json::to_vec(&alone(line)).unwrap_or_else(|_| line.get().as_bytes().to_vec());
                aside.push(Aside { body, fault: fault.into() });
            }
        }
    }
    known
}

impl Aside {
    /// As a dead letter of the queue of reports, taken `now` from the message with this id. It is the same one
    /// whenever the message comes again.
    pub(super) fn dead_letter(self, message_id: Option<Uuid>, now: Timestamp) -> Collected {
        let Self { body, fault } = self;
        let fingerprint =
            Sha256::new().chain_update("a line of a report").chain_update([0]).chain_update(&body).finalize();
        let mut properties = serde_json::Map::new();
        properties.insert("content_type".to_owned(), json!("application/json"));
        properties.insert("type".to_owned(), json!("Outcomes"));
        properties.extend(message_id.map(|id| ("message_id".to_owned(), json!(id))));
        Collected {
            fingerprint: fingerprint.into(),
            otherwise: None,
            origin: Origin::Reports,
            identity: None,
            reason: Some(Reason::Unreadable),
            error: Some(fault.to_string()),
            died_at: now,
            accepted_at: None,
            parent: None,
            report_by: now,
            content: Content { body, properties, ..Content::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use common::{event::now, word::Word};
    use serde_json::Value;

    use super::*;

    fn line(destination: &str) -> Value {
        json!({"event_id": Uuid::nil(), "order_id": Uuid::nil(), "correlation_id": "c", "destination": destination,
            "status": "dead_lettered", "reason": "outcome_unknown", "attempts": [], "new": {"x": 1},
            "settled_at": "2026-01-02T03:04:05Z"})
    }

    fn lines(report: &Value) -> Result<Lines, Unreadable> {
        read(report.to_string().as_bytes())
    }

    #[test]
    fn a_line_of_a_newer_version_is_read_as_far_as_it_is_known() {
        let Lines { report, aside } = lines(&json!({"outcomes": [line("north")], "verdicts": [1]})).unwrap();
        assert_eq!(report.outcomes[0].reason, Some(Word::Other("outcome_unknown".to_owned())));
        assert_eq!((report.outcomes.len(), report.progress.len(), aside.len()), (1, 0, 0));
    }

    #[test]
    fn an_unreadable_line_is_set_aside_in_a_report_of_its_own() {
        let mut held = line("north");
        held["status"] = json!("held");
        let sent = json!({"outcomes": [line("north"), held, line("south")], "progress": ["soon"]});
        let Lines { report, aside } = lines(&sent).unwrap();
        assert_eq!(
            report.outcomes.iter().map(|outcome| outcome.destination.as_str()).collect::<Vec<_>>(),
            ["north", "south"]
        );
        let letters: Vec<_> = aside.into_iter().map(|aside| aside.dead_letter(Some(Uuid::nil()), now())).collect();
        let bodies: Vec<Value> =
            letters.iter().map(|letter| serde_json::from_slice(&letter.content.body).unwrap()).collect();
        assert_eq!(bodies, [json!({"outcomes": [held]}), json!({"outcomes": [], "progress": ["soon"]})]);
        assert!(letters.iter().all(|letter| letter.reason == Some(Reason::Unreadable)));

        // The same message again.
        let again = lines(&sent).unwrap().aside.remove(0).dead_letter(Some(Uuid::nil()), now());
        assert_eq!(again.fingerprint, letters[0].fingerprint);
        assert_ne!(again.fingerprint, letters[1].fingerprint);
    }

    #[test]
    fn a_report_without_a_readable_line_stays_whole() {
        for report in [json!({"outcomes": [1, 2]}), json!({"outcomes": 1}), json!([]), json!({})] {
            assert!(lines(&report).is_err(), "{report}");
        }
        assert!(read(b"none").is_err());
    }
}
