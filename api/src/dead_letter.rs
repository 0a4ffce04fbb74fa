//! Dead letters: listed, grouped, and one with everything.

use common::{
    outcome::{Attempt, Reason},
    status::DeadLetterState,
    word::Word,
    words,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
#[cfg(feature = "openapi")]
use utoipa::{IntoParams, ToSchema};

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct DeadLetterItem {
    /// The id of the dead letter.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub id: String,
    /// The order, if the body names one.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub order_id: Option<String>,
    /// The destination in whose queue it died; `outcomes` is the queue of reports.
    pub destination: String,
    /// Why it died.
    #[cfg_attr(feature = "openapi", schema(value_type = Reason))]
    pub reason: Word<Reason>,
    /// The status code of the last attempt.
    pub status_code: Option<u16>,
    /// What went wrong last, if the API did not respond.
    pub error: Option<String>,
    /// The beginning of what the API said last, if it said something that a person can read.
    pub answer: Option<String>,
    /// When the delivery ended.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub failed_at: Timestamp,
    /// Every attempt so far, oldest first.
    pub attempts: Vec<Attempt>,
    /// How often it was sent again.
    pub redrives: u32,
    /// Whether it is archived.
    pub archived: bool,
}

/// A dead letter with everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct DeadLetter {
    /// The id of the dead letter.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub id: String,
    /// The order, if the body names one.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub order_id: Option<String>,
    /// The destination in whose queue it died; `outcomes` is the queue of reports.
    pub destination: String,
    /// The state of the dead letter.
    #[cfg_attr(feature = "openapi", schema(value_type = DeadLetterState))]
    pub state: Word<DeadLetterState>,
    /// Why it died.
    #[cfg_attr(feature = "openapi", schema(value_type = Reason))]
    pub reason: Word<Reason>,
    /// The status code of the last attempt.
    pub status_code: Option<u16>,
    /// What went wrong last, if the API did not respond.
    pub error: Option<String>,
    /// The beginning of what the API said last, if it said something that a person can read.
    pub answer: Option<String>,
    /// When the delivery ended.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub failed_at: Timestamp,
    /// Every attempt so far, oldest first.
    pub attempts: Vec<Attempt>,
    /// How often it was sent again.
    pub redrives: u32,
    /// Whether it is archived.
    pub archived: bool,
    /// When it was archived.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub archived_at: Option<Timestamp>,
    /// The note that it was archived with.
    pub note: Option<String>,
    /// The body, as it was in the queue.
    pub body: String,
    /// How the body is encoded.
    #[cfg_attr(feature = "openapi", schema(value_type = BodyEncoding))]
    pub body_encoding: Word<BodyEncoding>,
    /// The headers, without x-death. What JSON has no word for is an object with one field: `$bytes`
    /// (base64), `$timestamp` (RFC 3339), `$decimal`, `$float`.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub headers: Map<String, Value>,
    /// The properties that were set.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub properties: Map<String, Value>,
    /// The broker's x-death, newest first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub deaths: Vec<Value>,
    /// From the first failure to the latest, this one among them.
    pub lineage: Vec<Link>,
}

words! {
    /// How a body is encoded.
    pub enum BodyEncoding {
        /// As it is, in UTF-8.
        Utf8 = "utf8",
        /// In Base64, because it is not text.
        Base64 = "base64",
    }
}

/// One dead letter of a lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Link {
    /// The dead letter.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub id: String,
    /// The state of the dead letter.
    #[cfg_attr(feature = "openapi", schema(value_type = DeadLetterState))]
    pub state: Word<DeadLetterState>,
    /// Why it died.
    #[cfg_attr(feature = "openapi", schema(value_type = Reason))]
    pub reason: Word<Reason>,
    /// The status code of the last attempt, if any.
    pub status_code: Option<u16>,
    /// What went wrong last, if the API did not respond.
    pub error: Option<String>,
    /// When the delivery ended.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub failed_at: Timestamp,
}

/// Dead letters with the same destination and cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct DeadLetterGroup {
    /// The destination in whose queue they died.
    pub destination: String,
    /// Why they died.
    #[cfg_attr(feature = "openapi", schema(value_type = Reason))]
    pub reason: Word<Reason>,
    /// The status code of the last attempt.
    pub status_code: Option<u16>,
    /// What went wrong last, if the API did not respond.
    pub error: Option<String>,
    /// What the API said last: the type of a problem (RFC 9457), or its title if it has no type of its own;
    /// otherwise the text, with `…` for each word that looks like an id.
    pub answer: Option<String>,
    /// How many there are.
    pub count: u64,
    /// The earliest failure.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub first_failed_at: Timestamp,
    /// The latest failure.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_failed_at: Timestamp,
    /// The id of the one that was recorded last.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub sample_id: String,
}

/// Which dead letters are meant: those that match everything that is given. An empty filter matches every dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema, IntoParams), into_params(parameter_in = Query))]
pub struct DeadLetterFilter {
    /// The destination in whose queue it died; `outcomes` is the queue of reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false), param(nullable = false))]
    pub destination: Option<String>,
    /// Why it died.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, value_type = Option<Reason>),
        param(nullable = false, value_type = Option<Reason>)
    )]
    pub reason: Option<Word<Reason>>,
    /// The status code of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, minimum = 100, maximum = 999),
        param(nullable = false, minimum = 100, maximum = 999)
    )]
    pub status_code: Option<u16>,
    /// A part of the error; ASCII letters match in either case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, min_length = 1, max_length = 200),
        param(nullable = false, min_length = 1, max_length = 200)
    )]
    pub error: Option<String>,
    /// The order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, format = Uuid),
        param(nullable = false, format = Uuid)
    )]
    pub order_id: Option<String>,
    /// Failed at this time or later (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, value_type = Option<String>, format = DateTime),
        param(nullable = false, value_type = Option<String>, format = DateTime)
    )]
    pub from: Option<Timestamp>,
    /// Failed before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, value_type = Option<String>, format = DateTime),
        param(nullable = false, value_type = Option<String>, format = DateTime)
    )]
    pub to: Option<Timestamp>,
    /// `true` for archived ones, instead of those that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, default = false),
        param(nullable = false)
    )]
    pub archived: Option<bool>,
}

/// A note about a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Note {
    /// Why it needs no further attention: 1 to 1000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, min_length = 1, max_length = 1000))]
    pub note: Option<String>,
}
