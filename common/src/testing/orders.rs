//! Orders for the suite: an ordinary one, an awkward one, the largest one.
#![expect(clippy::expect_used, reason = "these orders are valid; a test fails if they are not")]

use crate::{
    event::{EventId, OrderCreated, OrderCreatedType, now},
    order::{CorrelationId, CustomerId, Item, Items, MAX_ID_CHARS, MAX_ITEMS, MAX_QTY, OrderId, ProductId, Qty},
};

/// An ordinary order: customer `c-1`, two of `p-1` and one of `p-2`.
#[must_use]
pub fn sample_order() -> OrderCreated {
    order("c-1", [("p-1".to_owned(), 2), ("p-2".to_owned(), 1)])
}

/// An order whose texts are as hard to encode as an order allows.
pub(super) fn awkward_order() -> OrderCreated {
    let products = ["\"quoted\"", "back\\slash", "größe 42 → 43", "🦀🦀", "</script>", "%00{}$&", " "];
    order("Zoë \"Ω\" \\ O'Neil", products.into_iter().zip(1..).map(|(product, qty)| (product.to_owned(), qty)))
}

/// The largest possible order.
pub(super) fn largest_order() -> OrderCreated {
    let padding = "🦀".repeat(MAX_ID_CHARS - 4);
    order(&"ü".repeat(MAX_ID_CHARS), (0..MAX_ITEMS).map(|number| (format!("{number:04}{padding}"), MAX_QTY)))
}

fn order(customer: &str, items: impl IntoIterator<Item = (String, u32)>) -> OrderCreated {
    let item = |(product, qty)| Item {
        product_id: ProductId::parse(product).expect("a product id"),
        qty: Qty::try_from(qty).expect("a quantity"),
    };
    let items: Vec<_> = items.into_iter().map(item).collect();
    OrderCreated {
        event_type: OrderCreatedType,
        event_id: EventId::fresh(),
        order_id: OrderId::new(),
        customer_id: CustomerId::parse(customer.to_owned()).expect("a customer id"),
        items: Items::try_from(items).expect("items"),
        correlation_id: CorrelationId::fresh(),
        occurred_at: now(),
    }
}
