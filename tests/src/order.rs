//! Orders to place.

use serde::Serialize;

/// The body of `POST /v1/orders`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Who orders.
    pub customer_id: String,
    /// What.
    pub items: Vec<Item>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What.
    pub product_id: String,
    /// How many.
    pub qty: u32,
}

impl Order {
    /// One that both APIs accept.
    #[must_use]
    pub fn healthy() -> Self {
        Self::of("SKU-1")
    }

    /// One of this product; the fake API takes some product ids as wishes, see [`crate::fake_api::CONVENTION`].
    #[must_use]
    pub fn of(product_id: &str) -> Self {
        let items = vec![Item { product_id: product_id.to_owned(), qty: 2 }];
        Self { customer_id: "customer-1".to_owned(), items }
    }

    /// Another line.
    #[must_use]
    pub fn and(mut self, product_id: &str, qty: u32) -> Self {
        self.items.push(Item { product_id: product_id.to_owned(), qty });
        self
    }
}
