//! An order as it is shown, folded from the order and the ledger.

use std::collections::BTreeMap;

use api::{Accepted, Delivery, Item, Order};
use common::{
    order::Items,
    status::{DeliveryStatus, OrderStatus},
};
use store::{DeliveryRecord, OrderRecord, Receipt};

/// The order with its deliveries: those that nothing was recorded of are pending.
pub(crate) fn order(known: OrderRecord) -> Order {
    let status = known.status().into();
    let OrderRecord { event, destinations, outcomes } = known;
    let mut deliveries: BTreeMap<_, _> =
        destinations.into_iter().map(|name| (name.to_string(), Delivery::pending())).collect();
    for recorded in outcomes {
        deliveries.insert(recorded.outcome.destination.to_string(), delivery(recorded));
    }
    Order {
        order_id: event.order_id.to_string(),
        correlation_id: event.correlation_id.to_string(),
        customer_id: event.customer_id.to_string(),
        items: items(&event.items),
        status,
        created_at: event.occurred_at,
        deliveries,
    }
}

/// What was ordered.
pub(crate) fn items(items: &Items) -> Vec<Item> {
    let item = |item: &common::order::Item| Item { product_id: item.product_id.to_string(), qty: item.qty.get() };
    items.as_slice().iter().map(item).collect()
}

/// A delivery as the ledger has it.
pub(crate) fn delivery(recorded: DeliveryRecord) -> Delivery {
    let status = recorded.status();
    let outcome = recorded.outcome;
    let ended = status != DeliveryStatus::Pending;
    Delivery {
        status: status.into(),
        reason: outcome.reason.filter(|_| ended),
        attempts: outcome.attempts,
        settled_at: ended.then_some(outcome.settled_at),
    }
}

/// An order that was accepted, with its deliveries as they are known.
pub(crate) fn accepted(receipt: &Receipt, deliveries: BTreeMap<String, Delivery>) -> Accepted {
    Accepted {
        order_id: receipt.order_id.to_string(),
        correlation_id: receipt.correlation_id.to_string(),
        status: OrderStatus::Pending.into(),
        deliveries,
    }
}
