//! An order as `GET /v1/orders/{order_id}` shows it: what the demo reads of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// An order.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OrderView {
    pub(super) status: String,
    /// By destination.
    pub(super) deliveries: BTreeMap<String, DeliveryView>,
}

/// One of its deliveries.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DeliveryView {
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) attempts: Vec<AttemptView>,
}

/// One HTTP call.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct AttemptView {
    pub(super) status_code: Option<u16>,
    pub(super) error: Option<String>,
}

impl OrderView {
    /// Asks the producer at this base URL.
    ///
    /// # Errors
    /// The answer is not an order.
    pub(super) async fn get(http: &reqwest::Client, producer: &str, order_id: &str) -> Result<Self> {
        let url = format!("{producer}/v1/orders/{order_id}");
        let answer = http.get(&url).send().await.and_then(reqwest::Response::error_for_status)?;
        answer.json().await.with_context(|| format!("GET {url} shows no order"))
    }

    /// Whether every delivery has ended.
    pub(super) fn is_settled(&self) -> bool {
        self.status != "pending"
    }
}

impl DeliveryView {
    /// How each attempt ended, oldest first.
    pub(super) fn answers(&self) -> impl DoubleEndedIterator<Item = String> {
        self.attempts.iter().map(|attempt| match (attempt.status_code, &attempt.error) {
            (Some(code), _) => code.to_string(),
            (None, Some(error)) => error.clone(),
            (None, None) => "nothing".to_owned(),
        })
    }

    /// How the last attempt ended.
    pub(super) fn last_answer(&self) -> String {
        self.answers().next_back().unwrap_or_default()
    }
}
