//! Redrives: the request, what it would send, and its progress.

use common::{
    status::{RedriveStatus, Refusal},
    word::Word,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

use crate::{DeadLetterFilter, DeadLetterItem};

/// A redrive to start: exactly one of `filter` and `ids` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewRedrive {
    /// Send dead letters that match this filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false))]
    pub filter: Option<DeadLetterFilter>,
    /// Send these dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, min_items = 1, max_items = 5000, value_type = Option<Vec<uuid::Uuid>>)
    )]
    pub ids: Option<Vec<String>>,
    /// Return what would be sent, and send nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false, default = false))]
    pub dry_run: Option<bool>,
    /// Dead letters per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, minimum = 1, maximum = 5000, default = 50, value_type = Option<f64>)
    )]
    pub rate: Option<Number>,
    /// Most dead letters that are sent and have not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, minimum = 1, maximum = 10000, default = 100)
    )]
    pub concurrency: Option<u32>,
    /// Stop when more than this share of the last 20 that ended failed again; 1 never stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, minimum = 0, maximum = 1, default = 0.5)
    )]
    pub stop_after_failed_share: Option<f64>,
    /// Send even dead letters whose key the destination may have forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false, default = false))]
    pub force: Option<bool>,
    /// An `OrderCreated` event in place of the dead letter's own body, for exactly one dead letter: of the
    /// same order, as an object or as a string that contains one. The dead letter itself does not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false, value_type = Option<Object>))]
    pub body: Option<Value>,
    /// Send the edited body under a new event id, and so under another key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false, default = false))]
    pub new_key: Option<bool>,
}

/// What a redrive would send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = PlanView))]
pub struct Plan {
    /// Exactly how many dead letters it would send.
    pub matched: u64,
    /// The first of them, at most 10.
    #[cfg_attr(feature = "openapi", schema(max_items = 10))]
    pub sample: Vec<DeadLetterItem>,
    /// How many are refused, and why.
    pub refused: Vec<Refused>,
}

/// How many dead letters are refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Refused {
    /// Why they are refused.
    #[cfg_attr(feature = "openapi", schema(value_type = Refusal))]
    pub reason: Word<Refusal>,
    /// How many there are.
    pub count: u64,
}

/// A redrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Redrive {
    /// The id of the redrive.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub id: String,
    /// The status of the redrive.
    #[cfg_attr(feature = "openapi", schema(value_type = RedriveStatus))]
    pub status: Word<RedriveStatus>,
    /// Why it stopped; null otherwise.
    pub detail: Option<String>,
    /// The filter that was requested; null if the dead letters were named by their ids.
    pub filter: Option<DeadLetterFilter>,
    /// Dead letters per second.
    pub rate: f64,
    /// Most dead letters that are sent and have not ended.
    pub concurrency: u32,
    /// It stops by itself when more than this share of the last 20 that ended failed again.
    pub stop_after_failed_share: f64,
    /// Whether an edited body is sent in place of the dead letter's own.
    pub edited: bool,
    /// Whether it is sent under another key.
    pub new_key: bool,
    /// How many dead letters it has; fixed when it was created.
    pub matched: u64,
    /// How many the broker has confirmed.
    pub sent: u64,
    /// How many their destination has accepted.
    pub delivered: u64,
    /// How many are dead again.
    pub dead_lettered: u64,
    /// How many were not sent, because it was cancelled.
    pub cancelled: u64,
    /// How many have not ended: not sent yet, or under way.
    pub remaining: u64,
    /// How many dead letters were refused, and why.
    pub refused: Vec<Refused>,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When its status last changed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
}
