//! The examples of the document, made by the types that are sent.

use api::{Attempt, DeadLetterGroup, DeadLetterItem, DeadLetterState, Reason};
use common::origin::Origin;
use jiff::SignedDuration;
use serde_json::{Value, json};
use store::{Content, DeadLetter, DeadLetterDetails, Link};
use uuid::Uuid;

use crate::{http::edge::sample, views};

fn letter() -> DeadLetter {
    let (failed_at, status_code) = (sample::time(), Some(422));
    DeadLetter {
        id: sample::dead_letter_id(),
        order_id: Some(sample::order_id()),
        origin: "inventory".parse().unwrap_or(Origin::Reports),
        state: DeadLetterState::Dead,
        reason: Reason::Rejected.into(),
        status_code,
        error: None,
        failed_at,
        key_used_at: None,
        attempts: vec![Attempt {
            at: failed_at,
            duration_ms: 12,
            status_code,
            error: None,
            answer: Some(sample::ANSWER.to_owned()),
            spent: None,
        }],
        parent: None,
        redrives: 0,
        archived_at: None,
        note: None,
    }
}

/// A dead letter in a list.
pub(in crate::http) fn example() -> DeadLetterItem {
    views::dead_letter::item(letter())
}

/// The same.
pub(super) fn item() -> Value {
    sample::json(&example())
}

/// The same, archived.
pub(super) fn archived() -> Value {
    sample::json(&DeadLetterItem { archived: true, ..example() })
}

/// A page with it.
pub(super) fn listed() -> Value {
    json!({"items": [item()], "next_cursor": null})
}

/// A note.
pub(super) fn note() -> Value {
    json!({"note": "sold out; the customer knows"})
}

/// A page with one group.
pub(super) fn grouped() -> Value {
    let group = DeadLetterGroup {
        destination: "inventory".to_owned(),
        reason: Reason::Rejected.into(),
        status_code: Some(422),
        error: None,
        answer: Some("Sold out".to_owned()),
        count: 17,
        first_failed_at: sample::time(),
        last_failed_at: sample::time() + SignedDuration::from_secs(60),
        sample_id: sample::dead_letter_id().to_string(),
    };
    json!({"items": [sample::json(&group)], "next_cursor": null})
}

/// A dead letter with everything.
pub(super) fn whole() -> Value {
    let properties = json!({"message_id": Uuid::nil(), "type": "OrderCreated", "content_type": "application/json",
        "correlation_id": sample::correlation_id(), "delivery_mode": 2});
    let death = json!({"reason": "rejected", "queue": "orders.inventory", "exchange": "orders", "routing-keys": [""],
        "count": 1, "time": "2026-01-02T03:04:05Z"});
    let letter = letter();
    let DeadLetter { id, state, reason, status_code, failed_at, .. } = letter.clone();
    let content = Content {
        body: br#"{"event_type":"OrderCreated"}"#.to_vec(),
        headers: serde_json::Map::new(),
        properties: properties.as_object().cloned().unwrap_or_default(),
        deaths: vec![death],
    };
    let lineage = vec![Link { id, state, reason, status_code, error: None, failed_at }];
    sample::json(&views::dead_letter::whole(DeadLetterDetails { letter, content, lineage }))
}
