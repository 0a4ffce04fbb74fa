//! Problems: every way to refuse a request, in one table, and the response to it (RFC 9457).

mod documented;

use std::borrow::Cow;

use api::Fault;
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::order::CorrelationId;
use store::{NotAccepted, StoreFault};

use super::faults::{Faults, MAX_LISTED};

pub(in crate::http) use self::documented::{documented, problems};

/// The media type of every refusal.
pub(in crate::http) const PROBLEM_JSON: &str = "application/problem+json";

/// A type of problem.
#[derive(Debug)]
pub(in crate::http) struct ProblemType {
    /// The end of its URI, which never changes.
    pub(in crate::http) name: &'static str,
    pub(in crate::http) status: StatusCode,
    pub(in crate::http) title: &'static str,
    /// What it means and what to do, for the page at its URI.
    pub(in crate::http) help: &'static str,
    /// When to try again, in seconds, if that may help.
    pub(in crate::http) retry_after: Option<&'static str>,
}

/// Declares the types of problems, and the table of them.
macro_rules! problem_types {
    ($($name:ident = $uri:literal $status:ident $(retry $seconds:literal)?: $title:literal, $help:literal;)+) => {
        $(
            pub(in crate::http) static $name: ProblemType = ProblemType {
                name: $uri,
                status: StatusCode::$status,
                title: $title,
                help: $help,
                retry_after: problem_types!(@retry $($seconds)?),
            };
        )+

        /// The table.
        pub(in crate::http) static PROBLEM_TYPES: [&ProblemType; [$($uri),+].len()] = [$(&$name),+];
    };
    (@retry) => { None };
    (@retry $seconds:literal) => { Some($seconds) };
}

problem_types! {
    INVALID_HEADER = "invalid-header" BAD_REQUEST:
        "A header of the request is not valid",
        "The member errors names the header and the rule that it breaks. Nothing was stored.";
    INVALID_QUERY = "invalid-query" BAD_REQUEST:
        "The query of the request is not valid",
        "The member errors names each parameter that is unknown or breaks a rule. Nothing was done.";
    UNREADABLE_BODY = "unreadable-body" BAD_REQUEST:
        "The body of the request ended early or was framed incorrectly",
        "Content-Length or the chunks did not match what was sent. Nothing was stored.";
    MALFORMED_JSON = "malformed-json" BAD_REQUEST:
        "The body is not well-formed JSON",
        "The detail says what is wrong, and at which line and column. Nothing was stored.";
    NESTED_TOO_DEEPLY = "nested-too-deeply" BAD_REQUEST:
        "The body is nested too deeply",
        "An order needs three levels of arrays and objects; at most 64 are read. Nothing was stored.";
    IDEMPOTENCY_KEY_REQUIRED = "idempotency-key-required" BAD_REQUEST:
        "The order has no idempotency key",
        "This server accepts an order only under a key: send the header Idempotency-Key or, in a batch, the field \
         idempotency_key of each order. Use a different key for each order, and the same one to send an order again. \
         Nothing was stored.";
    UNKNOWN_PATH = "unknown-path" NOT_FOUND:
        "There is nothing at this path",
        "The paths of this API are listed in /openapi.json and shown at /docs.";
    UNKNOWN_ORDER = "unknown-order" NOT_FOUND:
        "No order has this id",
        "The id of an order is the UUID that was returned when the order was accepted.";
    UNKNOWN_DELIVERY = "unknown-delivery" NOT_FOUND:
        "The order is not delivered to this destination",
        "The deliveries of an order are shown with it, by the name of their destination.";
    DELIVERY_ENDED = "delivery-ended" CONFLICT:
        "The delivery has ended",
        "Only a delivery that is pending can be attempted or cancelled. A dead letter can be sent again by a redrive.";
    DELIVERY_UNDER_WAY = "delivery-under-way" CONFLICT retry "10":
        "The delivery is under way",
        "It is in its queue or with a worker, which may be calling the API. Only a delivery that waits in the store can \
         be cancelled: try again after the time in Retry-After, when it may wait again or have ended.";
    UNKNOWN_DEAD_LETTER = "unknown-dead-letter" NOT_FOUND:
        "No dead letter has this id",
        "The id of a dead letter is a UUID; GET /v1/dead-letters lists them.";
    DEAD_LETTER_NOT_WAITING = "dead-letter-not-waiting" CONFLICT:
        "The dead letter is not waiting for an operator",
        "It is being sent again, or was sent again already. Only a dead letter that is waiting can be archived or \
         put back.";
    METHOD_NOT_ALLOWED = "method-not-allowed" METHOD_NOT_ALLOWED:
        "This path does not support the method",
        "The header Allow lists the methods that it supports.";
    REQUEST_TIMEOUT = "request-timeout" REQUEST_TIMEOUT:
        "The body did not arrive in time",
        "A body must be complete within 10 seconds. Nothing was stored.";
    BODY_TOO_LARGE = "body-too-large" PAYLOAD_TOO_LARGE:
        "The body is too large",
        "A body has at most 262144 bytes (256 KiB), the body of a batch 4194304 bytes (4 MiB). Nothing was stored.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE:
        "The body is not sent as JSON",
        "Content-Type must be application/json, and the body must not be compressed. Nothing was stored.";
    INVALID_ORDER = "invalid-order" UNPROCESSABLE_ENTITY:
        "The order is not valid",
        "The member errors lists the faults: where in the body, as a JSON pointer, and what is wrong there. At most \
         20 are listed; errors_omitted counts the rest. Nothing was stored.";
    INVALID_NOTE = "invalid-note" UNPROCESSABLE_ENTITY:
        "The note is not valid",
        "The body is an object with at most one field, note, a string of 1 to 1000 characters. Nothing was changed.";
    INVALID_REDRIVE = "invalid-redrive" UNPROCESSABLE_ENTITY:
        "The redrive is not valid",
        "The member errors lists the faults: where in the body, as a JSON pointer, and what is wrong there. Nothing \
         was sent.";
    UNKNOWN_REDRIVE = "unknown-redrive" NOT_FOUND:
        "No redrive has this id",
        "The id of a redrive is the UUID that was returned when it was created; GET /v1/redrives lists them.";
    NOTHING_TO_REDRIVE = "nothing-to-redrive" CONFLICT:
        "There is nothing to send",
        "No dead letter matches, or every one that matches is refused; the detail says why. Nothing was sent. The \
         same request with dry_run shows what would be sent.";
    REDRIVE_NOT_POSSIBLE = "redrive-not-possible" CONFLICT:
        "The status of the redrive does not allow this",
        "A running redrive can be paused, a paused or stopped one resumed, and each of these cancelled. A completed \
         or cancelled redrive has ended.";
    INVALID_BATCH = "invalid-batch" UNPROCESSABLE_ENTITY:
        "The batch is not valid",
        "A batch is an object with the field orders: an array of 1 to 500 orders. The member errors lists what is \
         wrong with the batch itself; an invalid order is refused by itself and does not refuse the batch. Nothing \
         was stored.";
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused" UNPROCESSABLE_ENTITY:
        "The idempotency key was used for another request",
        "A key identifies one order or redrive. Send another one under a new key. Nothing was stored.";
    BUSY = "busy" SERVICE_UNAVAILABLE retry "1":
        "Too many requests are waiting",
        "Nothing was stored. Try again after the time in Retry-After, under the same Idempotency-Key.";
    TOO_MANY_STREAMS = "too-many-streams" SERVICE_UNAVAILABLE retry "5":
        "Too many event streams are open",
        "Try again after the time in Retry-After, or get the order instead. The setting EVENT_STREAMS is the limit.";
    STORE_UNAVAILABLE = "store-unavailable" SERVICE_UNAVAILABLE retry "5":
        "The store does not answer",
        "Try again after the time in Retry-After, under the same Idempotency-Key.";
    INTERNAL = "internal" INTERNAL_SERVER_ERROR:
        "Internal server error",
        "The server's log has the cause, under the correlation id of the response.";
}

/// What a body can be refused for before anybody looks at what it says.
pub(in crate::http) static BODY: [&ProblemType; 6] =
    [&UNREADABLE_BODY, &MALFORMED_JSON, &NESTED_TOO_DEEPLY, &REQUEST_TIMEOUT, &BODY_TOO_LARGE, &UNSUPPORTED_MEDIA_TYPE];

/// Why the store cannot be asked.
pub(in crate::http) static STORE: [&ProblemType; 2] = [&BUSY, &STORE_UNAVAILABLE];

/// One refusal. As a response it is empty, and carries itself: the middleware for correlation ids
/// renders it.
#[derive(Clone, Debug)]
pub(in crate::http) struct Problem {
    pub(in crate::http) kind: &'static ProblemType,
    detail: Cow<'static, str>,
    errors: Vec<Fault>,
    errors_omitted: usize,
    /// For the log only.
    cause: Option<String>,
}

impl Problem {
    pub(in crate::http) fn new(kind: &'static ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), errors_omitted: 0, cause: None }
    }

    /// A fault of the server, with its cause for the log.
    pub(in crate::http) fn caused_by(self, cause: impl ToString) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    /// A header that breaks a rule.
    pub(in crate::http) fn header(name: &'static str, rule: impl Into<String>) -> Self {
        let rule = rule.into();
        let detail = format!("{name} {rule}");
        let fault = Fault { header: Some(name.to_owned()), detail: rule, ..Fault::default() };
        Self { errors: vec![fault], ..Self::new(&INVALID_HEADER, detail) }
    }

    /// A query with at least one fault.
    pub(in crate::http) fn query(mut faults: Vec<Fault>) -> Self {
        let errors_omitted = faults.len().saturating_sub(MAX_LISTED);
        faults.truncate(MAX_LISTED);
        let detail = match faults.as_slice() {
            [Fault { parameter: Some(name), detail, .. }] => format!("{name} {detail}"),
            _ => format!("the query has {} faults", faults.len() + errors_omitted),
        };
        Self { errors: faults, errors_omitted, ..Self::new(&INVALID_QUERY, detail) }
    }

    /// An order with faults.
    pub(in crate::http) fn invalid_order(faults: Faults) -> Self {
        Self::invalid(&INVALID_ORDER, "order", faults)
    }

    /// A body with faults; `what` it was to be.
    pub(in crate::http) fn invalid(kind: &'static ProblemType, what: &str, faults: Faults) -> Self {
        let Faults { listed, omitted, .. } = faults;
        let detail = match (listed.len(), omitted) {
            (1, 0) => format!("the {what} has one fault"),
            (count, 0) => format!("the {what} has {count} faults"),
            (count, _) => format!("the {what} has {} faults, the first {count} are listed", count + omitted),
        };
        Self { errors: listed, errors_omitted: omitted, ..Self::new(kind, detail) }
    }

    /// The body of the response.
    pub(in crate::http) fn body(&self, correlation_id: &CorrelationId) -> api::Problem {
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

    /// Logs the refusal.
    pub(in crate::http) fn log(&self, correlation_id: &CorrelationId) {
        let problem = self.kind.name;
        match &self.cause {
            Some(cause) => tracing::error!(%correlation_id, problem, cause, "a request failed"),
            None => tracing::debug!(%correlation_id, problem, "request refused"),
        }
    }

    /// Logs the refusal and writes it into its response.
    pub(in crate::http) fn render(&self, response: &mut Response, correlation_id: &CorrelationId) {
        self.log(correlation_id);
        // Nothing in it can fail to be JSON; if it did, the status would still be right.
        *response.body_mut() = Body::from(serde_json::to_vec(&self.body(correlation_id)).unwrap_or_default());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.kind.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if self.kind.leaves_body_unread() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreFault> for Problem {
    fn from(fault: StoreFault) -> Self {
        match fault {
            StoreFault::Busy => Self::new(&BUSY, "too many requests are waiting"),
            fault => Self::new(&STORE_UNAVAILABLE, "the store does not answer").caused_by(fault),
        }
    }
}

impl From<NotAccepted> for Problem {
    fn from(reason: NotAccepted) -> Self {
        match reason {
            NotAccepted::Busy => Self::new(&BUSY, "too many orders are waiting"),
            NotAccepted::Behind(destination) => {
                Self::new(&BUSY, format!("too many orders wait for {destination}: its queue takes no events"))
            }
            NotAccepted::KeyReused => {
                Self::new(&IDEMPOTENCY_KEY_REUSED, "the idempotency key was used for another order")
            }
            NotAccepted::Store(cause) => {
                Self::new(&STORE_UNAVAILABLE, "the order could not be stored").caused_by(cause)
            }
        }
    }
}

impl ProblemType {
    /// Whether the rest of the body may still be under way, so that the connection cannot be used again.
    fn leaves_body_unread(&self) -> bool {
        [StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE].contains(&self.status)
    }

    /// The page at its URI.
    pub(in crate::http) fn page(&self) -> String {
        let Self { title, status, help, .. } = self;
        format!("{title}\n\nStatus: {status}\n\n{help}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::{
        edge::{
            body::{MAX_BATCH_BYTES, MAX_BYTES},
            faults::MAX_DEPTH,
        },
        orders::MAX_ORDERS,
    };

    #[test]
    fn each_type_of_problem_has_its_own_name_and_is_a_refusal() {
        let names: BTreeSet<_> = PROBLEM_TYPES.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), PROBLEM_TYPES.len());
        for kind in PROBLEM_TYPES {
            assert!(kind.status.is_client_error() || kind.status.is_server_error(), "{}", kind.name);
            let passes = kind.status == StatusCode::SERVICE_UNAVAILABLE || kind.name == DELIVERY_UNDER_WAY.name;
            assert_eq!(kind.retry_after.is_some(), passes, "{}", kind.name);
        }
    }

    #[test]
    fn a_busy_store_and_a_failed_one_are_different_problems() {
        assert_eq!(Problem::from(StoreFault::Busy).kind.name, "busy");
        let failed = Problem::from(StoreFault::Database("secret.db is malformed".to_owned()));
        assert_eq!(failed.kind.name, "store-unavailable");
        let body = serde_json::to_string(&failed.body(&CorrelationId::fresh())).unwrap();
        assert!(!body.contains("secret"), "{body}");
    }

    #[test]
    fn the_numbers_in_the_help_are_those_of_the_code() {
        assert!(NESTED_TOO_DEEPLY.help.contains(&format!("at most {MAX_DEPTH} are read")));
        assert!(BODY_TOO_LARGE.help.contains(&format!(" {MAX_BYTES} bytes")));
        assert!(BODY_TOO_LARGE.help.contains(&format!(" {MAX_BATCH_BYTES} bytes")));
        assert!(INVALID_BATCH.help.contains(&format!("1 to {} orders", MAX_ORDERS)));
        assert!(INVALID_ORDER.help.contains(&format!("At most {MAX_LISTED} are")));
    }
}
