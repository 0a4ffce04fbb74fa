//! What observers get: single calls, and counts.

use serde::{Deserialize, Serialize};

use super::Api;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// When it had arrived completely, in microseconds since 1970.
    pub at: u64,
    /// The API that was called.
    pub api: Api,
    /// The path that was called.
    pub path: String,
    /// The order id in the body, if it could be read.
    pub order_id: Option<String>,
    /// Header `Idempotency-Key`, as it was sent.
    pub idempotency_key: Option<String>,
    /// Header `X-Correlation-ID`.
    pub correlation_id: Option<String>,
    /// Header `traceparent`.
    pub traceparent: Option<String>,
    /// SHA-256 of the body, in hexadecimal.
    pub body_sha256: String,
    /// The status code of the response, which may be sent after a delay.
    pub status: Option<u16>,
    /// How it ended.
    pub ended: Ended,
    /// Whether this call is the one that had the effect for its key.
    pub effect: bool,
    /// Why it was refused, if it broke the contract.
    pub refusal: Option<String>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With a response.
    Answered,
    /// Without one.
    Hung,
    /// By a reset before the effect.
    Cut,
    /// By a reset after the effect.
    CutAfterActing,
}

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Calls, including refused ones.
    pub calls: u64,
    /// Keys that had their effect.
    pub effects: u64,
    /// Effects at the inventory API.
    pub inventory_effects: u64,
    /// Effects at the fulfillment API.
    pub fulfillment_effects: u64,
    /// Distinct idempotency keys, counted for each API.
    pub keys: u64,
    /// Distinct orders, counted for each API.
    pub orders: u64,
    /// Calls beyond the first of their key.
    pub repeats: u64,
    /// Calls whose key belongs to another body, which get 422: the caller's fault.
    pub mismatches: u64,
    /// Orders that were called about with more than one key: the caller's fault.
    pub orders_with_several_keys: u64,
    /// Calls that broke the contract.
    pub refused: u64,
    /// Calls to `/redirected`, which follow a redirect: the caller's fault.
    pub redirects_followed: u64,
    /// Connections that were reset on purpose.
    pub cuts: u64,
}
