//! An order as it is shown.

use std::collections::BTreeMap;

use common::{
    outcome::{Attempt, Reason},
    status::{DeliveryStatus, OrderStatus},
    word::Word,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// An order as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = OrderView))]
pub struct Order {
    /// The id of the order.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub order_id: String,
    /// The request that placed it.
    pub correlation_id: String,
    /// The customer.
    pub customer_id: String,
    /// The items.
    pub items: Vec<Item>,
    /// The status of the order, over all deliveries.
    #[cfg_attr(feature = "openapi", schema(value_type = OrderStatus))]
    pub status: Word<OrderStatus>,
    /// When it was accepted.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// The deliveries, by the name of the destination.
    pub deliveries: BTreeMap<String, Delivery>,
}

/// An item of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Item {
    /// The product.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128, example = "p-7"))]
    pub product_id: String,
    /// The quantity.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000_000, example = 2))]
    pub qty: u32,
}

/// One delivery of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = DeliveryView))]
pub struct Delivery {
    /// The status of the delivery.
    #[cfg_attr(feature = "openapi", schema(value_type = DeliveryStatus))]
    pub status: Word<DeliveryStatus>,
    /// Why it was dead-lettered; null otherwise.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Reason>))]
    pub reason: Option<Word<Reason>>,
    /// Every attempt that is known, oldest first; of very many, the first 10 and the last 90.
    pub attempts: Vec<Attempt>,
    /// How many attempts between those are not shown; absent if none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts_omitted: u32,
    /// When it is attempted again; absent unless it waits for its next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, nullable = false))]
    pub next_attempt_at: Option<Timestamp>,
    /// When it ended.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub settled_at: Option<Timestamp>,
}

impl Order {
    /// Whether no delivery is pending.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.status != OrderStatus::Pending
    }
}

impl Delivery {
    /// A delivery about which nothing has been reported yet.
    #[must_use]
    pub fn pending() -> Self {
        Self {
            status: DeliveryStatus::Pending.into(),
            reason: None,
            attempts: Vec::new(),
            attempts_omitted: 0,
            next_attempt_at: None,
            settled_at: None,
        }
    }

    /// The attempts, each with its number from 0 on.
    pub fn numbered_attempts(&self) -> impl Iterator<Item = (usize, &Attempt)> {
        let omitted = usize::try_from(self.attempts_omitted).unwrap_or(usize::MAX);
        let number = move |index| if index < Self::FIRST_ATTEMPTS { index } else { omitted.saturating_add(index) };
        self.attempts.iter().enumerate().map(move |(index, attempt)| (number(index), attempt))
    }

    /// If not all attempts are shown, this many are from the beginning.
    const FIRST_ATTEMPTS: usize = 10;
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_of_a_newer_version_is_read() {
        let json = r#"{"order_id": "o-1", "correlation_id": "c-1", "customer_id": "c", "items": [], "status": "on_hold",
            "created_at": "2026-01-02T03:04:05Z", "new": 1, "deliveries": {"north": {"status": "dead_lettered",
            "reason": "a_new_reason", "attempts": [{"at": "2026-01-02T03:04:05Z", "duration_ms": 3, "new": [1]}]}}}"#;
        let order: Order = serde_json::from_str(json).unwrap();
        assert_eq!(order.status, Word::Other("on_hold".to_owned()));
        let delivery = &order.deliveries["north"];
        assert_eq!(delivery.status, DeliveryStatus::DeadLettered);
        assert_eq!(delivery.reason, Some(Word::Other("a_new_reason".to_owned())));
        assert_eq!((delivery.attempts[0].status_code, delivery.settled_at), (None, None));
    }

    #[test]
    fn a_pending_delivery_is_written_with_its_nulls() {
        let json = serde_json::to_string(&Delivery::pending()).unwrap();
        assert_eq!(json, r#"{"status":"pending","reason":null,"attempts":[],"settled_at":null}"#);
    }
}
