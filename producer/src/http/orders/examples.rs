//! The examples of the document, made by the types that are sent.

use std::collections::BTreeMap;

use api::{Attempt, BatchResult, Delivery, DeliveryStatus, Item, ItemResult, Order, OrderEvent, OrderStatus, Reason};
use jiff::SignedDuration;
use serde_json::{Value, json};
use store::Receipt;

use super::streams;
use crate::{
    http::edge::{
        problem::{IDEMPOTENCY_KEY_REUSED, Problem},
        sample,
    },
    views,
};

/// An order to place.
pub(in crate::http) fn new_order() -> Value {
    json!({"customer_id": "c-42", "items": [{"product_id": "p-7", "qty": 2}]})
}

/// The response to it.
pub(in crate::http) fn accepted() -> Value {
    sample::json(&accepted_order())
}

fn accepted_order() -> api::Accepted {
    let receipt = Receipt { order_id: sample::order_id(), correlation_id: sample::correlation_id(), replayed: false };
    let deliveries = ["fulfillment", "inventory"].map(|name| (name.to_owned(), Delivery::pending()));
    views::order::accepted(&receipt, deliveries.into())
}

/// The answer to a request to attempt a delivery now.
pub(in crate::http) fn retried() -> Value {
    steered("its wait is over: it is attempted as soon as a worker takes it")
}

/// The answer to a request to cancel a delivery.
pub(in crate::http) fn cancelled() -> Value {
    steered(super::steer::CANCELLED)
}

fn steered(detail: &str) -> Value {
    let (order_id, destination) = (sample::order_id().to_string(), "inventory".to_owned());
    sample::json(&api::Steered { order_id, destination, detail: detail.to_owned() })
}

/// The same order, accepted by one destination and rejected by the other.
pub(in crate::http) fn shown() -> Value {
    sample::json(&shown_order())
}

pub(in crate::http) fn shown_order() -> Order {
    let created_at = sample::time();
    let settled = |status: DeliveryStatus, reason: Option<Reason>, status_code| {
        let at = created_at + SignedDuration::from_millis(3);
        let attempts = vec![Attempt {
            at,
            duration_ms: 12,
            status_code: Some(status_code),
            error: None,
            answer: reason.map(|_| sample::ANSWER.to_owned()),
            spent: None,
        }];
        let settled_at = Some(at + SignedDuration::from_millis(12));
        Delivery { status: status.into(), reason: reason.map(Into::into), attempts, settled_at, ..Delivery::pending() }
    };
    let deliveries = BTreeMap::from([
        ("fulfillment".to_owned(), settled(DeliveryStatus::Delivered, None, 200)),
        ("inventory".to_owned(), settled(DeliveryStatus::DeadLettered, Some(Reason::Rejected), 422)),
    ]);
    Order {
        order_id: sample::order_id().to_string(),
        correlation_id: sample::correlation_id().to_string(),
        customer_id: "c-42".to_owned(),
        items: vec![Item { product_id: "p-7".to_owned(), qty: 2 }],
        status: OrderStatus::PartiallyDelivered.into(),
        created_at,
        deliveries,
    }
}

/// A page with it.
pub(in crate::http) fn listed() -> Value {
    json!({"items": [shown()], "next_cursor": "AZt8sk1eejGfbiyNWxp-QA"})
}

/// Two orders to place, the second under the key of the first.
pub(in crate::http) fn new_batch() -> Value {
    let mut keyed = new_order();
    keyed["idempotency_key"] = json!("order-8e03978e");
    let mut reused = keyed.clone();
    reused["customer_id"] = json!("c-43");
    json!({"orders": [keyed, reused]})
}

/// The response to them.
pub(in crate::http) fn batch() -> Value {
    let problem = Problem::new(&IDEMPOTENCY_KEY_REUSED, "the idempotency key was used for another order");
    let problem = problem.body(&sample::correlation_id());
    let items = vec![
        ItemResult { status: 202, order: Some(accepted_order()), replayed: false, problem: None },
        ItemResult { status: 422, order: None, replayed: false, problem: Some(problem) },
    ];
    sample::json(&BatchResult { items })
}

/// The events at the end of an order.
pub(in crate::http) fn events() -> Value {
    let mut text = String::new();
    let order = shown_order();
    let data = OrderEvent { order_id: order.order_id, correlation_id: order.correlation_id, ..OrderEvent::default() };
    let delivery = order.deliveries.get("fulfillment").cloned();
    let ended = OrderEvent { destination: Some("fulfillment".to_owned()), delivery, ..data.clone() };
    streams::write(&mut text, "delivered", "17.2", &ended);
    streams::write(&mut text, "settled", "17", &OrderEvent { status: Some(order.status), ..data });
    Value::String(text)
}
