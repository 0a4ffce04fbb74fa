//! Orders to place.

use serde::Serialize;

/// The body of `POST /v1/orders`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// The customer.
    pub customer_id: String,
    /// What is ordered.
    pub items: Vec<Item>,
}

/// One item of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The product.
    pub product_id: String,
    /// The quantity.
    pub qty: u32,
}

impl Order {
    /// One that both APIs accept.
    #[must_use]
    pub fn healthy() -> Self {
        Self::of("SKU-1")
    }

    /// One of this product. Some product ids make the fake API misbehave, see [`crate::fake_api::CONVENTION`].
    #[must_use]
    pub fn of(product_id: &str) -> Self {
        let items = vec![Item { product_id: product_id.to_owned(), qty: 2 }];
        Self { customer_id: "customer-1".to_owned(), items }
    }

    /// The same, with another item.
    #[must_use]
    pub fn and(mut self, product_id: &str, qty: u32) -> Self {
        self.items.push(Item { product_id: product_id.to_owned(), qty });
        self
    }
}
