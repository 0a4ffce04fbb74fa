//! The examples of the document, made by the types that are sent.

use api::{DeadLetterFilter, Plan, Redrive, RedriveStatus, Refusal, Refused};
use serde_json::{Value, json};

use crate::http::{dead_letters, edge::sample};

/// Every dead letter that one destination has rejected, at the default rate.
pub(super) fn new_redrive() -> Value {
    json!({"filter": {"destination": "inventory", "status_code": 422}, "rate": 50, "concurrency": 100})
}

/// What that would send.
pub(super) fn plan() -> Value {
    let refused = vec![Refused { reason: Refusal::KeyExpired.into(), count: 3 }];
    sample::json(&Plan { matched: 1, sample: vec![dead_letters::example()], refused })
}

/// A running redrive.
pub(super) fn redrive() -> Value {
    let at = sample::time();
    let (destination, archived) = (Some("inventory".to_owned()), Some(false));
    let filter = DeadLetterFilter { destination, status_code: Some(422), archived, ..DeadLetterFilter::default() };
    sample::json(&Redrive {
        id: sample::redrive_id().to_string(),
        status: RedriveStatus::Running.into(),
        detail: None,
        filter: Some(filter),
        rate: 50.0,
        concurrency: 100,
        stop_after_failed_share: 0.5,
        edited: false,
        new_key: false,
        matched: 1_200,
        sent: 800,
        delivered: 730,
        dead_lettered: 4,
        cancelled: 0,
        remaining: 466,
        refused: vec![Refused { reason: Refusal::KeyExpired.into(), count: 3 }],
        created_at: at,
        updated_at: at,
    })
}

/// A page with it.
pub(super) fn listed() -> Value {
    json!({"items": [redrive()], "next_cursor": null})
}
