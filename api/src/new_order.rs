//! Orders to place: the bodies of `POST /v1/orders` and `POST /v1/orders:batch`.

use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// An order to place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewOrder {
    /// The customer: 1 to 128 characters, no control characters.
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$", example = "c-42")
    )]
    pub customer_id: String,
    /// 1 to 1000 items.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub items: Vec<NewItem>,
}

/// Orders to place together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewBatch {
    /// 1 to 500 orders.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 500))]
    pub orders: Vec<KeyedOrder>,
}

/// An order to place under its own key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct KeyedOrder {
    /// Makes it safe to send the order again: 1 to 255 visible ASCII characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(
            required = false,
            nullable = false,
            min_length = 1,
            max_length = 255,
            pattern = "^[!-~]*$",
            example = "k-1"
        )
    )]
    pub idempotency_key: Option<String>,
    /// The customer: 1 to 128 characters, no control characters.
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$", example = "c-42")
    )]
    pub customer_id: String,
    /// 1 to 1000 items.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub items: Vec<NewItem>,
}

/// An item of an order to place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewItem {
    /// The product: 1 to 128 characters, no control characters.
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$", example = "p-7")
    )]
    pub product_id: String,
    /// The quantity: a whole number, written without fraction or exponent.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000_000, example = 2))]
    pub qty: u32,
}
