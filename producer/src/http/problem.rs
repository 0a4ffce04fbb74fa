//! Problems: every refusal there is, in one table, and its answer (RFC 9457).

use api::Fault;
use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use common::order::CorrelationId;

use super::faults::{Faults, MAX_LISTED};

/// The media type of every refusal.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// A type of problem. Its `name` is the end of its `type` URI and never changes.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    /// What it means and what to do, for the page at its URI.
    pub(super) help: &'static str,
    /// When to try again, in seconds, where that may help.
    pub(super) retry_after: Option<&'static str>,
}

const fn kind(name: &'static str, status: StatusCode, title: &'static str, help: &'static str) -> Kind {
    Kind { name, status, title, help, retry_after: None }
}

pub(super) static INVALID_HEADER: Kind = kind(
    "invalid-header",
    StatusCode::BAD_REQUEST,
    "A header of the request is not valid",
    "The member errors names the header and the rule that it breaks. Nothing was stored.",
);
pub(super) static INVALID_QUERY: Kind = kind(
    "invalid-query",
    StatusCode::BAD_REQUEST,
    "The query of the request is not valid",
    "The member errors names each parameter that is unknown or breaks a rule. Nothing was done.",
);
pub(super) static UNREADABLE_BODY: Kind = kind(
    "unreadable-body",
    StatusCode::BAD_REQUEST,
    "The body of the request ended early or was framed wrongly",
    "Content-Length or the chunks did not match what was sent. Nothing was stored.",
);
pub(super) static MALFORMED_JSON: Kind = kind(
    "malformed-json",
    StatusCode::BAD_REQUEST,
    "The body is not well-formed JSON",
    "The detail says what is wrong, and at which line and column. Nothing was stored.",
);
pub(super) static NESTED_TOO_DEEPLY: Kind = kind(
    "nested-too-deeply",
    StatusCode::BAD_REQUEST,
    "The body is nested too deeply",
    "An order needs three levels of arrays and objects; 64 are read at most. Nothing was stored.",
);
pub(super) static IDEMPOTENCY_KEY_REQUIRED: Kind = kind(
    "idempotency-key-required",
    StatusCode::BAD_REQUEST,
    "The order has no idempotency key",
    "This server takes orders only under a key: send the header Idempotency-Key, in a batch the field \
     idempotency_key of each order, with a value of your own for each order, and the same when you send it again. \
     Nothing was stored.",
);
pub(super) static UNKNOWN_PATH: Kind = kind(
    "unknown-path",
    StatusCode::NOT_FOUND,
    "Nothing is at this path",
    "The paths of this API are listed at /openapi.json and shown at /docs.",
);
pub(super) static UNKNOWN_ORDER: Kind = kind(
    "unknown-order",
    StatusCode::NOT_FOUND,
    "No order has this id",
    "The id of an order is a UUID, answered when the order was accepted.",
);
pub(super) static UNKNOWN_DEAD_LETTER: Kind = kind(
    "unknown-dead-letter",
    StatusCode::NOT_FOUND,
    "No dead letter has this id",
    "The id of a dead letter is a UUID; dead letters are listed at /v1/dead-letters.",
);
pub(super) static DEAD_LETTER_NOT_WAITING: Kind = kind(
    "dead-letter-not-waiting",
    StatusCode::CONFLICT,
    "The dead letter does not wait for anybody",
    "It is being sent again, or was sent again already: only one that waits can be archived or put back.",
);
pub(super) static METHOD_NOT_ALLOWED: Kind = kind(
    "method-not-allowed",
    StatusCode::METHOD_NOT_ALLOWED,
    "This path does not take the method",
    "The header Allow names the methods that it takes.",
);
pub(super) static REQUEST_TIMEOUT: Kind = kind(
    "request-timeout",
    StatusCode::REQUEST_TIMEOUT,
    "The body did not arrive in time",
    "A body must be complete within 10 seconds. Nothing was stored.",
);
pub(super) static BODY_TOO_LARGE: Kind = kind(
    "body-too-large",
    StatusCode::PAYLOAD_TOO_LARGE,
    "The body is too large",
    "A body has at most 262144 bytes (256 KiB), that of a batch 4194304 bytes (4 MiB). Nothing was stored.",
);
pub(super) static UNSUPPORTED_MEDIA_TYPE: Kind = kind(
    "unsupported-media-type",
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "The body is not sent as JSON",
    "Content-Type must be application/json, and the body must not be compressed. Nothing was stored.",
);
pub(super) static INVALID_ORDER: Kind = kind(
    "invalid-order",
    StatusCode::UNPROCESSABLE_ENTITY,
    "The order is not valid",
    "The member errors lists the faults: where in the body, as a JSON pointer, and what is wrong there. \
     At most 20 are listed; errors_omitted says how many more there are. Nothing was stored.",
);
pub(super) static INVALID_NOTE: Kind = kind(
    "invalid-note",
    StatusCode::UNPROCESSABLE_ENTITY,
    "The note is not valid",
    "The body is an object with at most one field, note, a string of 1 to 1000 characters. Nothing was changed.",
);
pub(super) static INVALID_REDRIVE: Kind = kind(
    "invalid-redrive",
    StatusCode::UNPROCESSABLE_ENTITY,
    "The redrive is not valid",
    "The member errors lists the faults: where in the body, as a JSON pointer, and what is wrong there. Nothing was sent.",
);
pub(super) static UNKNOWN_REDRIVE: Kind = kind(
    "unknown-redrive",
    StatusCode::NOT_FOUND,
    "No redrive has this id",
    "The id of a redrive is a UUID, answered when it was created, and listed at /v1/redrives.",
);
pub(super) static NOTHING_TO_REDRIVE: Kind = kind(
    "nothing-to-redrive",
    StatusCode::CONFLICT,
    "There is nothing to send",
    "No dead letter matches, or each that does is refused; the detail says why. Nothing was sent. What would be sent is told by the same request with dry_run.",
);
pub(super) static REDRIVE_NOT_POSSIBLE: Kind = kind(
    "redrive-not-possible",
    StatusCode::CONFLICT,
    "The redrive is in a state that does not allow it",
    "A running redrive can be paused, a paused or stopped one resumed, each of them cancelled. One that is completed or cancelled has ended.",
);
pub(super) static INVALID_BATCH: Kind = kind(
    "invalid-batch",
    StatusCode::UNPROCESSABLE_ENTITY,
    "The batch is not valid",
    "A batch is an object with the field orders: an array of 1 to 500 orders. The member errors lists what is wrong \
     with the batch itself; an order that is not valid is refused by itself and does not refuse the batch. \
     Nothing was stored.",
);
pub(super) static IDEMPOTENCY_KEY_REUSED: Kind = kind(
    "idempotency-key-reused",
    StatusCode::UNPROCESSABLE_ENTITY,
    "The idempotency key was used for another order",
    "A key stands for one order. Send another order under a key of its own. Nothing was stored.",
);
pub(super) static BUSY: Kind = Kind {
    retry_after: Some("1"),
    ..kind(
        "busy",
        StatusCode::SERVICE_UNAVAILABLE,
        "Too many requests are waiting",
        "Nothing was stored. Try again after the time in Retry-After, under the same Idempotency-Key.",
    )
};
pub(super) static TOO_MANY_STREAMS: Kind = Kind {
    retry_after: Some("5"),
    ..kind(
        "too-many-streams",
        StatusCode::SERVICE_UNAVAILABLE,
        "Too many streams of events are open",
        "Try again after the time in Retry-After, or ask for the order itself. EVENT_STREAMS is the bound.",
    )
};
pub(super) static STORE_UNAVAILABLE: Kind = Kind {
    retry_after: Some("5"),
    ..kind(
        "store-unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "The store does not answer",
        "Try again after the time in Retry-After, under the same Idempotency-Key.",
    )
};
pub(super) static INTERNAL: Kind = kind(
    "internal",
    StatusCode::INTERNAL_SERVER_ERROR,
    "The server made a mistake",
    "The log of the server knows more, under the correlation id of the answer.",
);

/// The table.
pub(super) static KINDS: [&Kind; 26] = [
    &INVALID_HEADER,
    &INVALID_QUERY,
    &UNREADABLE_BODY,
    &MALFORMED_JSON,
    &NESTED_TOO_DEEPLY,
    &IDEMPOTENCY_KEY_REQUIRED,
    &UNKNOWN_PATH,
    &UNKNOWN_ORDER,
    &UNKNOWN_DEAD_LETTER,
    &DEAD_LETTER_NOT_WAITING,
    &METHOD_NOT_ALLOWED,
    &REQUEST_TIMEOUT,
    &BODY_TOO_LARGE,
    &UNSUPPORTED_MEDIA_TYPE,
    &INVALID_ORDER,
    &INVALID_NOTE,
    &INVALID_REDRIVE,
    &UNKNOWN_REDRIVE,
    &NOTHING_TO_REDRIVE,
    &REDRIVE_NOT_POSSIBLE,
    &INVALID_BATCH,
    &IDEMPOTENCY_KEY_REUSED,
    &BUSY,
    &TOO_MANY_STREAMS,
    &STORE_UNAVAILABLE,
    &INTERNAL,
];

/// One refusal.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) kind: &'static Kind,
    detail: Cow<'static, str>,
    errors: Vec<Fault>,
    errors_omitted: usize,
}

impl Problem {
    pub(super) fn new(kind: &'static Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), errors_omitted: 0 }
    }

    /// A header that breaks a rule.
    pub(super) fn header(name: &'static str, detail: &str) -> Self {
        let fault = Fault { header: Some(name.to_owned()), detail: detail.to_owned(), ..Fault::default() };
        Self { errors: vec![fault], ..Self::new(&INVALID_HEADER, format!("{name} {detail}")) }
    }

    /// A query with faults, at least one.
    pub(super) fn query(mut faults: Vec<Fault>) -> Self {
        let errors_omitted = faults.len().saturating_sub(MAX_LISTED);
        faults.truncate(MAX_LISTED);
        let detail = match faults.as_slice() {
            [Fault { parameter: Some(name), detail, .. }] => format!("{name} {detail}"),
            _ => format!("the query has {} faults", faults.len() + errors_omitted),
        };
        Self { errors: faults, errors_omitted, ..Self::new(&INVALID_QUERY, detail) }
    }

    /// An order with faults.
    pub(super) fn invalid(faults: Faults) -> Self {
        Self::faulty(&INVALID_ORDER, "order", faults)
    }

    /// A batch with faults that are not those of one order.
    pub(super) fn invalid_batch(faults: Faults) -> Self {
        Self::faulty(&INVALID_BATCH, "batch", faults)
    }

    /// A body with faults, of what it was to be.
    pub(super) fn faulty(kind: &'static Kind, what: &str, faults: Faults) -> Self {
        let Faults { listed, omitted, .. } = faults;
        let detail = match (listed.len(), omitted) {
            (1, 0) => format!("the {what} has one fault"),
            (count, 0) => format!("the {what} has {count} faults"),
            (count, _) => format!("the {what} has {} faults, the first {count} are listed", count + omitted),
        };
        Self { errors: listed, errors_omitted: omitted, ..Self::new(kind, detail) }
    }

    /// What is answered, without its headers.
    pub(super) fn body(&self, correlation_id: &CorrelationId) -> api::Problem {
        api::Problem {
            uri: format!("/problems/{}", self.kind.name),
            title: self.kind.title.to_owned(),
            status: self.kind.status.as_u16(),
            detail: self.detail.clone().into_owned(),
            correlation_id: correlation_id.to_string(),
            errors: self.errors.clone(),
            errors_omitted: self.errors_omitted,
        }
    }

    /// The answer.
    pub(super) fn into_response(self, correlation_id: &CorrelationId) -> Response {
        // Nothing in it can fail to be JSON; should it all the same, the status still tells.
        let body = serde_json::to_vec(&self.body(correlation_id)).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.kind.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if self.kind.leaves_body_unread() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Kind {
    /// Whether the rest of the body may still be on its way, so that the connection is of no more use.
    fn leaves_body_unread(&self) -> bool {
        [StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE].contains(&self.status)
    }

    /// The page at the URI of this type.
    pub(super) fn page(&self) -> String {
        let Self { title, status, help, .. } = self;
        format!("{title}\n\nStatus: {status}\n\n{help}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::{
        body::{MAX_BATCH_BYTES, MAX_BYTES},
        faults::MAX_DEPTH,
        new_batch,
    };

    #[test]
    fn each_type_of_problem_has_its_own_name_and_is_a_refusal() {
        let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
        for kind in KINDS {
            assert!(kind.status.is_client_error() || kind.status.is_server_error(), "{}", kind.name);
            assert_eq!(kind.retry_after.is_some(), kind.status == StatusCode::SERVICE_UNAVAILABLE, "{}", kind.name);
        }
    }

    #[test]
    fn the_numbers_in_the_help_are_those_of_the_code() {
        assert!(NESTED_TOO_DEEPLY.help.contains(&format!("; {MAX_DEPTH} are read")));
        assert!(BODY_TOO_LARGE.help.contains(&format!(" {MAX_BYTES} bytes")));
        assert!(BODY_TOO_LARGE.help.contains(&format!(" {MAX_BATCH_BYTES} bytes")));
        assert!(INVALID_BATCH.help.contains(&format!("1 to {} orders", new_batch::MAX_ORDERS)));
        assert!(INVALID_ORDER.help.contains(&format!("At most {} are", crate::http::faults::MAX_LISTED)));
    }
}
