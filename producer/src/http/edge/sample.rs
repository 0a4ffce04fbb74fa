//! The ids and times of the examples in the document.

use common::order::{CorrelationId, OrderId};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

pub(in crate::http) fn order_id() -> OrderId {
    OrderId(Uuid::from_u128(0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e40))
}

pub(in crate::http) fn redrive_id() -> Uuid {
    Uuid::from_u128(0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e41)
}

pub(in crate::http) fn dead_letter_id() -> Uuid {
    Uuid::from_u128(0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e42)
}

pub(in crate::http) fn correlation_id() -> CorrelationId {
    CorrelationId::parse("checkout-8e03978e".to_owned()).unwrap_or_else(|_| CorrelationId::fresh())
}

/// What an API says that refuses an order.
pub(in crate::http) const ANSWER: &str = r#"{"title":"Sold out","detail":"0 of p-7 are left"}"#;

/// 2026-01-02T03:04:05.678Z
pub(in crate::http) fn time() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(1_767_323_045_678)
}

/// An example, made by the type that is sent.
pub(in crate::http) fn json(body: &impl Serialize) -> Value {
    serde_json::to_value(body).unwrap_or_default()
}
