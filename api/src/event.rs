//! Events of orders, as they are streamed (text/event-stream).

use common::{outcome::Attempt, status::OrderStatus, word::Word};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

use crate::Delivery;

/// The `data` of an event. Which members it has depends on its type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = EventData))]
pub struct OrderEvent {
    /// The order.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub order_id: String,
    /// The request that placed it.
    pub correlation_id: String,
    /// The destination of the delivery; absent in `settled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub destination: Option<String>,
    /// In `attempt`: the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub attempt: Option<Attempt>,
    /// In `delivered` and `dead_lettered`: the delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub delivery: Option<Delivery>,
    /// In `settled`: the status of the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<OrderStatus>))]
    pub status: Option<Word<OrderStatus>>,
}
