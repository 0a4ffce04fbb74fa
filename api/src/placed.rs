//! What is answered to orders that were placed.

use std::collections::BTreeMap;

use common::{status::OrderStatus, word::Word};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

use crate::{Delivery, Problem};

/// An order that was accepted: it is on disk, and every destination will be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Accepted {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub order_id: String,
    /// The request that placed it.
    pub correlation_id: String,
    /// How far it is.
    #[cfg_attr(feature = "openapi", schema(value_type = OrderStatus))]
    pub status: Word<OrderStatus>,
    /// Each destination's delivery, by the destination's name.
    pub deliveries: BTreeMap<String, Delivery>,
}

/// The answers to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct BatchResult {
    /// One for each order, in the same order.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 500))]
    pub items: Vec<ItemResult>,
}

/// The answer to one order of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct ItemResult {
    /// The status that the order would have been answered with by itself.
    pub status: u16,
    /// The order, where it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub order: Option<Accepted>,
    /// Whether it was placed before under the same key; absent where it was not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub replayed: bool,
    /// Why it was not accepted. Pointers are relative to the whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub problem: Option<Problem>,
}
