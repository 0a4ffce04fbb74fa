//! Dead letters as they are shown.

use api::{Attempt, BodyEncoding, DeadLetterFilter, DeadLetterGroup, DeadLetterItem};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use store::{Content, DeadLetter, DeadLetterDetails, Filter, Group, Link};

/// One of a list.
pub(crate) fn item(letter: DeadLetter) -> DeadLetterItem {
    DeadLetterItem {
        id: letter.id.to_string(),
        order_id: letter.order_id.map(|id| id.to_string()),
        destination: letter.origin.to_string(),
        reason: letter.reason,
        status_code: letter.status_code,
        error: letter.error,
        answer: last_answer(&letter.attempts),
        failed_at: letter.failed_at,
        attempts: letter.attempts,
        redrives: letter.redrives,
        archived: letter.archived_at.is_some(),
    }
}

/// What the API said last.
fn last_answer(attempts: &[Attempt]) -> Option<String> {
    attempts.last()?.answer.clone()
}

/// One with everything. A body that is no text is shown as Base64.
pub(crate) fn whole(DeadLetterDetails { letter, content, lineage }: DeadLetterDetails) -> api::DeadLetter {
    let Content { body, headers, properties, deaths } = content;
    let (body, body_encoding) = match String::from_utf8(body) {
        Ok(text) => (text, BodyEncoding::Utf8),
        Err(fault) => (BASE64.encode(fault.as_bytes()), BodyEncoding::Base64),
    };
    api::DeadLetter {
        id: letter.id.to_string(),
        order_id: letter.order_id.map(|id| id.to_string()),
        destination: letter.origin.to_string(),
        state: letter.state.into(),
        reason: letter.reason,
        status_code: letter.status_code,
        error: letter.error,
        answer: last_answer(&letter.attempts),
        failed_at: letter.failed_at,
        attempts: letter.attempts,
        redrives: letter.redrives,
        archived: letter.archived_at.is_some(),
        archived_at: letter.archived_at,
        note: letter.note,
        body,
        body_encoding: body_encoding.into(),
        headers,
        properties,
        deaths,
        lineage: lineage.into_iter().map(link).collect(),
    }
}

fn link(Link { id, state, reason, status_code, error, failed_at }: Link) -> api::Link {
    api::Link { id: id.to_string(), state: state.into(), reason, status_code, error, failed_at }
}

/// Those with the same destination and cause.
pub(crate) fn group(group: Group) -> DeadLetterGroup {
    DeadLetterGroup {
        destination: group.origin.to_string(),
        reason: group.reason,
        status_code: group.status_code,
        error: group.error,
        answer: group.answer,
        count: group.count,
        first_failed_at: group.first_failed_at,
        last_failed_at: group.last_failed_at,
        sample_id: group.sample_id.to_string(),
    }
}

/// Which were asked for.
pub(crate) fn filter(filter: Filter) -> DeadLetterFilter {
    DeadLetterFilter {
        destination: filter.destination.map(|origin| origin.to_string()),
        reason: filter.reason,
        status_code: filter.status_code,
        error: filter.error,
        order_id: filter.order_id.map(|id| id.to_string()),
        from: filter.from,
        to: filter.to,
        archived: Some(filter.archived),
    }
}
