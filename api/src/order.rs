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
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
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
        Self { status: DeliveryStatus::Pending.into(), reason: None, attempts: Vec::new(), settled_at: None }
    }
}
