//! Responses to orders that were placed.

use std::collections::BTreeMap;

use common::{status::OrderStatus, word::Word};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

use crate::{Delivery, Problem};

/// An accepted order: it is on disk, and every destination will be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Accepted {
    /// The id of the order.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub order_id: String,
    /// The request that placed it.
    pub correlation_id: String,
    /// The status of the order.
    #[cfg_attr(feature = "openapi", schema(value_type = OrderStatus))]
    pub status: Word<OrderStatus>,
    /// The deliveries, by the name of the destination.
    pub deliveries: BTreeMap<String, Delivery>,
}

/// The results of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct BatchResult {
    /// A result for each order, in the same order.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 500))]
    pub items: Vec<ItemResult>,
}

/// The result of one order of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct ItemResult {
    /// The status code that the order would have got by itself.
    pub status: u16,
    /// The order, if it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub order: Option<Accepted>,
    /// Whether an earlier request under the same key placed it; absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub replayed: bool,
    /// Why it was refused. Pointers are relative to the whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub problem: Option<Problem>,
}
