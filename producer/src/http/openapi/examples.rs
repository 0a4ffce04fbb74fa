//! What the document shows of each body, made by the types that make it.

use std::collections::BTreeMap;

use api::{
    BatchResult, DeadLetterFilter, DeadLetterGroup, Delivery, DeliveryStatus, Item, ItemResult, Order, OrderEvent,
    OrderStatus, OverdueDelivery, Plan, Reconciliation, Redrive, RedriveStatus, Refusal, Refused, Seen,
};
use common::{
    order::{CorrelationId, OrderId},
    origin::Origin,
    outcome::{Attempt, Reason},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{
    faults::{self, Faults, Flaw, Pointer},
    headers::CORRELATION_ID,
    list_dead_letters,
    problem::{self, Kind, Problem},
    streams,
};
use crate::views;
use store::{DeadLetter, Link, Opened, Receipt, State};

/// An order to place.
pub(in crate::http) fn new_order_example() -> Value {
    json!({"customer_id": "c-42", "items": [{"product_id": "p-7", "qty": 2}]})
}

/// The answer to it.
pub(in crate::http) fn accepted_example() -> Value {
    let (order_id, correlation_id) = sample();
    let deliveries = ["fulfillment", "inventory"].map(|name| (name.to_owned(), Delivery::pending())).into();
    let receipt = Receipt { order_id, correlation_id, replayed: false };
    value(&views::order::accepted(&receipt, deliveries))
}

/// The same order, after one destination was told and the other has refused.
pub(in crate::http) fn shown_example() -> Value {
    value(&shown_sample())
}

/// A page with it.
pub(in crate::http) fn listed_example() -> Value {
    json!({"items": [shown_example()], "next_cursor": "AZt8sk1eejGfbiyNWxp-QA"})
}

/// Two orders to place, the second under the key of the first.
pub(in crate::http) fn new_batch_example() -> Value {
    let mut keyed = new_order_example();
    keyed["idempotency_key"] = json!("order-8e03978e");
    let mut reused = keyed.clone();
    reused["customer_id"] = json!("c-43");
    json!({"orders": [keyed, reused]})
}

/// The answer to them.
pub(in crate::http) fn batch_example() -> Value {
    let (order_id, correlation_id) = sample();
    let deliveries = ["fulfillment", "inventory"].map(|name| (name.to_owned(), Delivery::pending())).into();
    let receipt = Receipt { order_id, correlation_id: correlation_id.clone(), replayed: false };
    let order = views::order::accepted(&receipt, deliveries);
    let problem = Problem::new(&problem::IDEMPOTENCY_KEY_REUSED, "idempotency_key stands for another order");
    let items = vec![
        ItemResult { status: 202, order: Some(order), replayed: false, problem: None },
        ItemResult { status: 422, order: None, replayed: false, problem: Some(problem.body(&correlation_id)) },
    ];
    value(&BatchResult { items })
}

/// The events at the end of an order.
pub(in crate::http) fn events_example() -> Value {
    let mut text = String::new();
    let order = shown_sample();
    let data = OrderEvent { order_id: order.order_id, correlation_id: order.correlation_id, ..OrderEvent::default() };
    let delivery = order.deliveries.get("fulfillment").cloned();
    let ended = OrderEvent { destination: Some("fulfillment".to_owned()), delivery, ..data.clone() };
    streams::write(&mut text, "delivered", "17.2", &ended);
    streams::write(&mut text, "settled", "17", &OrderEvent { status: Some(order.status), ..data });
    Value::String(text)
}

/// The order that the examples show.
pub(in crate::http) fn shown_sample() -> Order {
    let (order_id, correlation_id) = sample();
    let created_at = sample_time();
    let settled = |status: DeliveryStatus, reason: Option<Reason>, status_code| {
        let at = created_at + SignedDuration::from_millis(3);
        let attempts = vec![Attempt { at, duration_ms: 12, status_code: Some(status_code), error: None }];
        let settled_at = Some(at + SignedDuration::from_millis(12));
        Delivery { status: status.into(), reason: reason.map(Into::into), attempts, settled_at }
    };
    let deliveries = BTreeMap::from([
        ("fulfillment".to_owned(), settled(DeliveryStatus::Delivered, None, 200)),
        ("inventory".to_owned(), settled(DeliveryStatus::DeadLettered, Some(Reason::Rejected), 422)),
    ]);
    Order {
        order_id: order_id.to_string(),
        correlation_id: correlation_id.to_string(),
        customer_id: "c-42".to_owned(),
        items: vec![Item { product_id: "p-7".to_owned(), qty: 2 }],
        status: OrderStatus::PartiallyDelivered.into(),
        created_at,
        deliveries,
    }
}

/// A page with one dead letter.
pub(in crate::http) fn dead_letters_example() -> Value {
    json!({"items": [dead_letter_item_example()], "next_cursor": null})
}

/// A dead letter as it is listed.
pub(in crate::http) fn dead_letter_item_example() -> Value {
    let (order_id, _) = sample();
    value(&list_dead_letters::example(sample_letter(), order_id.0, sample_time()))
}

/// The same after it was archived.
pub(in crate::http) fn archived_example() -> Value {
    let mut example = dead_letter_item_example();
    example["archived"] = true.into();
    example
}

/// A note.
pub(in crate::http) fn note_example() -> Value {
    json!({"note": "sold out; the customer was told"})
}

/// A page with one group.
pub(in crate::http) fn dead_letter_groups_example() -> Value {
    let group = DeadLetterGroup {
        destination: "inventory".to_owned(),
        reason: Reason::Rejected.into(),
        status_code: Some(422),
        error: None,
        count: 17,
        first_failed_at: sample_time(),
        last_failed_at: sample_time() + SignedDuration::from_secs(60),
        sample_id: sample_letter().to_string(),
    };
    json!({"items": [value(&group)], "next_cursor": null})
}

/// A dead letter with everything.
pub(in crate::http) fn dead_letter_example() -> Value {
    let (order_id, correlation_id) = sample();
    let (id, failed_at) = (sample_letter(), sample_time());
    let properties = json!({"message_id": Uuid::nil(), "type": "OrderCreated", "content_type": "application/json",
        "correlation_id": correlation_id, "delivery_mode": 2});
    let death = json!({"reason": "rejected", "queue": "orders.inventory", "exchange": "orders", "routing-keys": [""],
        "count": 1, "time": "2026-01-02T03:04:05Z"});
    let (state, reason, status_code, error) = (State::Dead, Reason::Rejected, Some(422), None);
    value(&views::dead_letter::whole(Opened {
        letter: DeadLetter {
            id,
            order_id: Some(order_id),
            origin: "inventory".parse().unwrap_or(Origin::Reports),
            state,
            reason,
            status_code,
            error: error.clone(),
            failed_at,
            key_used_at: None,
            attempts: vec![Attempt { at: failed_at, duration_ms: 12, status_code, error: None }],
            parent: None,
            redrives: 0,
            archived_at: None,
            note: None,
        },
        content: store::Content {
            body: br#"{"event_type":"OrderCreated"}"#.to_vec(),
            headers: serde_json::Map::new(),
            properties: properties.as_object().cloned().unwrap_or_default(),
            deaths: vec![death],
        },
        lineage: vec![Link { id, state, reason, status_code, error, failed_at }],
    }))
}

fn sample_letter() -> Uuid {
    Uuid::from_u128(0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e42)
}

/// 2026-01-02T03:04:05.678Z
fn sample_time() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(1_767_323_045_678)
}

/// Every dead letter that one destination has refused, at the usual rate.
pub(in crate::http) fn new_redrive_example() -> Value {
    json!({"filter": {"destination": "inventory", "status_code": 422}, "rate": 50, "concurrency": 100})
}

/// What that would send.
pub(in crate::http) fn plan_example() -> Value {
    let letter = list_dead_letters::example(sample_letter(), sample().0.0, sample_time());
    let refused = vec![Refused { reason: Refusal::KeyExpired.into(), count: 3 }];
    value(&Plan { matched: 1, sample: vec![letter], refused })
}

/// A redrive on its way.
pub(in crate::http) fn redrive_example() -> Value {
    let at = sample_time();
    let (destination, archived) = (Some("inventory".to_owned()), Some(false));
    let filter = DeadLetterFilter { destination, status_code: Some(422), archived, ..DeadLetterFilter::default() };
    value(&Redrive {
        id: sample_redrive_id().to_string(),
        status: RedriveStatus::Running.into(),
        detail: None,
        filter: Some(filter),
        rate: 50.0,
        concurrency: 100,
        stop_after_failed_share: 0.5,
        edited: false,
        new_key: false,
        matched: 1_200,
        sent: 800,
        delivered: 730,
        dead_lettered: 4,
        cancelled: 0,
        remaining: 466,
        refused: vec![Refused { reason: Refusal::KeyExpired.into(), count: 3 }],
        created_at: at,
        updated_at: at,
    })
}

/// A page with it.
pub(in crate::http) fn redrives_example() -> Value {
    json!({"items": [redrive_example()], "next_cursor": null})
}

/// What a sweep found after a queue was emptied by hand.
pub(in crate::http) fn reconciliation_example() -> Value {
    let since = sample_time();
    let destination = "inventory".to_owned();
    let overdue = vec![OverdueDelivery {
        order_id: Some(sample().0.to_string()),
        destination,
        since,
        seen: Seen::Published.into(),
    }];
    let checked_at = Some(since + SignedDuration::from_mins(16));
    value(&Reconciliation { checked_at, overdue, overdue_total: 1, detail: None })
}

fn sample_redrive_id() -> Uuid {
    Uuid::from_u128(0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e41)
}

fn sample() -> (OrderId, CorrelationId) {
    let correlation_id = CorrelationId::parse("checkout-8e03978e".to_owned());
    let order_id = Uuid::from_u128(0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e40);
    (OrderId(order_id), correlation_id.unwrap_or_else(|_| CorrelationId::fresh()))
}

fn value(body: &impl Serialize) -> Value {
    serde_json::to_value(body).unwrap_or_default()
}

/// A problem of this kind.
pub(super) fn problem_example(kind: &'static Kind) -> Value {
    let problem = if kind.name == problem::INVALID_ORDER.name {
        let mut faults = Faults::default();
        let body = Pointer::BODY;
        let items = body.field("items");
        let item = items.item(0);
        faults.add(&body.field("customer_id"), &Flaw::Missing);
        faults.add(&item.field("qty"), &common::order::Invalid::QtyOutOfRange.into());
        Problem::invalid(faults)
    } else if kind.name == problem::INVALID_HEADER.name {
        Problem::header(CORRELATION_ID, "must consist of visible ASCII characters")
    } else if kind.name == problem::INVALID_QUERY.name {
        Problem::query(vec![faults::of_parameter("limit", "must be a whole number from 1 to 500".to_owned())])
    } else if kind.name == problem::INVALID_BATCH.name {
        let mut faults = Faults::default();
        faults.add(&Pointer::BODY.field("orders"), &Flaw::Missing);
        Problem::invalid_batch(faults)
    } else {
        Problem::new(kind, kind.help)
    };
    value(&problem.body(&sample().1))
}
