//! Redrives: what is asked for, what it would send, and how far it is.

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

/// A redrive to begin: exactly one of `filter` and `ids` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewRedrive {
    /// Dead letters that pass this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false))]
    pub filter: Option<DeadLetterFilter>,
    /// These dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, min_items = 1, max_items = 5000, value_type = Option<Vec<uuid::Uuid>>)
    )]
    pub ids: Option<Vec<String>>,
    /// Tell what would be sent, and send nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false, default = false))]
    pub dry_run: Option<bool>,
    /// Dead letters a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(required = false, nullable = false, minimum = 1, maximum = 5000, default = 50, value_type = Option<f64>)
    )]
    pub rate: Option<Number>,
    /// Most that are sent and have not ended.
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
    /// Send also what has a key that its destination may have forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false, default = false))]
    pub force: Option<bool>,
    /// An `OrderCreated` event in place of the dead letter's own body, for exactly one dead letter: of the
    /// same order, as an object or as a string that holds one. The dead letter itself stays as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false, value_type = Option<Object>))]
    pub body: Option<Value>,
    /// Send the edited body under a fresh event id, and so under another key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false, default = false))]
    pub new_key: Option<bool>,
}

/// What a redrive would send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = PlanView))]
pub struct Plan {
    /// Exactly how many dead letters.
    pub matched: u64,
    /// The first of them, at most 10.
    #[cfg_attr(feature = "openapi", schema(max_items = 10))]
    pub sample: Vec<DeadLetterItem>,
    /// How many are not taken, and why.
    pub refused: Vec<Refused>,
}

/// How many dead letters are refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Refused {
    /// Why.
    #[cfg_attr(feature = "openapi", schema(value_type = Refusal))]
    pub reason: Word<Refusal>,
    /// How many.
    pub count: u64,
}

/// A redrive, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Redrive {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub id: String,
    /// How far it is.
    #[cfg_attr(feature = "openapi", schema(value_type = RedriveStatus))]
    pub status: Word<RedriveStatus>,
    /// Why it stopped; set exactly then.
    pub detail: Option<String>,
    /// What was asked for; null where the dead letters were named by their ids.
    pub filter: Option<DeadLetterFilter>,
    /// Dead letters a second.
    pub rate: f64,
    /// Most that are sent and have not ended.
    pub concurrency: u32,
    /// It stops by itself when more than this share of the last 20 that ended failed again.
    pub stop_after_failed_share: f64,
    /// Whether another body is sent than the dead letter's own.
    pub edited: bool,
    /// Whether it is sent under another key.
    pub new_key: bool,
    /// How many dead letters it has, fixed when it was created.
    pub matched: u64,
    /// How many the broker has taken.
    pub sent: u64,
    /// How many their destination has accepted.
    pub delivered: u64,
    /// How many are dead again.
    pub dead_lettered: u64,
    /// How many were not sent, because it was cancelled.
    pub cancelled: u64,
    /// How many have not ended: waiting to be sent, or on their way.
    pub remaining: u64,
    /// How many dead letters were not taken, and why.
    pub refused: Vec<Refused>,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When its status changed last.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
}
