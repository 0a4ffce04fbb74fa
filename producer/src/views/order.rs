//! An order as it is shown, folded from the order and the ledger.

use std::collections::BTreeMap;

use api::{Accepted, Delivery, Item, Order};
use common::{
    order::Items,
    status::{DeliveryStatus, OrderStatus},
};
use store::{DeliveryRecord, LedgerEntry, OrderRecord, Receipt};

/// The order with its deliveries: those that nothing was reported of are pending.
pub(crate) fn order(known: OrderRecord) -> Order {
    let status = known.status().into();
    let OrderRecord { event, destinations, recorded } = known;
    let mut deliveries: BTreeMap<_, _> =
        destinations.into_iter().map(|name| (name.to_string(), Delivery::pending())).collect();
    for record in recorded {
        deliveries.insert(record.entry.destination.to_string(), delivery(record));
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
pub(crate) fn delivery(record: DeliveryRecord) -> Delivery {
    let status = record.status();
    let LedgerEntry { reason, attempts, omitted, settled_at, next_attempt_at, .. } = record.entry;
    let ended = status != DeliveryStatus::Pending;
    Delivery {
        status: status.into(),
        reason: reason.filter(|_| ended),
        attempts,
        attempts_omitted: omitted.count,
        next_attempt_at: next_attempt_at.filter(|_| !ended),
        settled_at: settled_at.filter(|_| ended),
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
