//! One order, from the POST to both APIs and back into its status.

use anyhow::{Context, Result};
use api::{DeliveryStatus, OrderStatus};
use lapin::types::{AMQPValue, ShortString};
use serde_json::{Value, json};
use tests::{
    order::Order,
    system::{Placed, Role, System},
};
use uuid::Uuid;

use crate::{
    probe::Probe,
    stores::{Store, over_both_stores},
};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

over_both_stores!(
    both_apis_get_the_same_correlation_id_and_separate_keys,
    a_delivered_order_shows_every_delivery_with_its_attempt,
    the_status_of_an_order_follows_from_its_deliveries,
    the_largest_possible_order_is_delivered,
);

async fn both_apis_get_the_same_correlation_id_and_separate_keys(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let body = serde_json::to_vec(&Order::healthy())?;
    let response = system.post(&body, &[("x-correlation-id", "request-7"), ("traceparent", TRACEPARENT)]).await?;
    let placed = Placed::from_response(&response)?;
    assert_eq!(placed.correlation_id, "request-7");
    assert_eq!(response.header("x-correlation-id"), Some("request-7"));
    assert_eq!(placed.location, format!("/v1/orders/{}", placed.order_id));

    let stock = system.inventory_api.wait_for_calls(&placed.order_id, 1).await?;
    let shipment = system.fulfillment_api.wait_for_calls(&placed.order_id, 1).await?;
    let (stock, shipment) = (&stock[0], &shipment[0]);
    for call in [stock, shipment] {
        assert_eq!((call.status, call.refusal.as_deref()), (Some(200), None));
        assert_eq!(call.correlation_id.as_deref(), Some("request-7"));
        let trace = call.traceparent.as_deref().context("traceparent")?;
        assert_eq!(trace[..36], TRACEPARENT[..36], "the trace of the request continues");
        assert_ne!(trace, TRACEPARENT, "with another parent");
    }
    assert!(stock.idempotency_key.is_some());
    assert_ne!(stock.idempotency_key, shipment.idempotency_key);
    assert_ne!(stock.traceparent, shipment.traceparent);
    Ok(())
}

/// On raw JSON, because these names are the contract.
async fn a_delivered_order_shows_every_delivery_with_its_attempt(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let response = system.post(&serde_json::to_vec(&Order::healthy())?, &[]).await?;
    let placed = Placed::from_response(&response)?;
    assert_eq!(response.body["status"], "pending");
    system.wait_settled(&placed.order_id).await?;
    let order: Value = system.get(&placed.location).await?;
    assert_eq!(order["status"], "delivered", "{order}");
    assert_eq!(order["order_id"], placed.order_id);
    assert_eq!(order["correlation_id"], placed.correlation_id);
    assert_eq!(order["customer_id"], "customer-1");
    assert_eq!(order["items"], json!([{"product_id": "SKU-1", "qty": 2}]));
    let accepted: jiff::Timestamp = text(&order["created_at"])?.parse()?;
    for destination in ["inventory", "fulfillment"] {
        let delivery = &order["deliveries"][destination];
        assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("delivered"), &Value::Null), "{order}");
        assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1), "{order}");
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["status_code"], 200, "{order}");
        assert!(attempt["duration_ms"].is_u64() && attempt["error"].is_null(), "{order}");
        let (began, settled): (jiff::Timestamp, jiff::Timestamp) =
            (text(&attempt["at"])?.parse()?, text(&delivery["settled_at"])?.parse()?);
        assert!(accepted <= began && began <= settled, "{order}");
    }
    Ok(())
}

async fn the_status_of_an_order_follows_from_its_deliveries(store: &Store) -> Result<()> {
    let system = store.builder().with_patient_worker(Role::Inventory).start().await?;
    for (product, status) in
        [("fulfillment-status-422", OrderStatus::PartiallyDelivered), ("status-422", OrderStatus::DeadLettered)]
    {
        let placed = system.place(&Order::of(product)).await?;
        assert_eq!(system.wait_settled(&placed.order_id).await?.status, status);
    }
    system.inventory_api.set_rule("waits", "hang".parse()?);
    let placed = system.place(&Order::of("waits")).await?;
    let order = system.wait_for_delivery(&placed.order_id, "fulfillment", DeliveryStatus::Delivered).await?;
    let inventory = &order.deliveries["inventory"];
    assert_eq!((order.status, &inventory.status), (OrderStatus::Pending.into(), &DeliveryStatus::Pending.into()));
    assert_eq!(inventory.settled_at, None);
    Ok(())
}

#[tokio::test]
async fn the_event_is_published_once_as_documented() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    let probe = Probe::on(&system).await?;
    let body = serde_json::to_vec(&Order::healthy().and("SKU-2", 7))?;
    let placed = Placed::from_response(&system.post(&body, &[("traceparent", TRACEPARENT)]).await?)?;

    let message = probe.next(&system).await?;
    let event: Value = serde_json::from_slice(&message.body)?;
    let event_id: Uuid = text(&event["event_id"])?.parse()?;
    let occurred_at = text(&event["occurred_at"])?;
    let occurred: jiff::Timestamp = occurred_at.parse()?;
    let wanted = json!({
        "event_type": "OrderCreated", "event_id": event_id, "order_id": placed.order_id,
        "customer_id": "customer-1", "correlation_id": placed.correlation_id, "occurred_at": occurred_at,
        "items": [{"product_id": "SKU-1", "qty": 2}, {"product_id": "SKU-2", "qty": 7}],
    });
    assert_eq!(event, wanted);
    let properties = &message.properties;
    let property = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    assert_eq!(property(properties.message_id()), Some(event_id.to_string()));
    assert_eq!(property(properties.correlation_id()), Some(placed.correlation_id));
    assert_eq!(property(properties.kind()).as_deref(), Some("OrderCreated"));
    assert_eq!(property(properties.content_type()).as_deref(), Some("application/json"));
    assert_eq!(*properties.delivery_mode(), Some(2));
    let published = i64::try_from(properties.timestamp().context("timestamp")?)?;
    assert!(published >= occurred.as_second(), "{published} is before {occurred}");
    let headers = properties.headers().as_ref().context("headers")?;
    match headers.inner().get("traceparent") {
        Some(AMQPValue::LongString(trace)) => assert_eq!(trace.as_bytes()[..36], TRACEPARENT.as_bytes()[..36]),
        other => panic!("traceparent is {other:?}"),
    }
    let queues = system.queues().await?;
    for queue in [system.names.inventory(), system.names.fulfillment()] {
        queues.wait_for_depth(&queue, "the event", |depth| depth.ready == 1).await?;
    }
    assert!(queues.get(probe.queue()).await?.is_none(), "it is published once");
    Ok(())
}

async fn the_largest_possible_order_is_delivered(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let product = "\u{1F980}".repeat(32);
    let mut order = Order::of(&"p".repeat(128));
    order.customer_id = "\u{e9}".repeat(128);
    for _ in 1..1_000 {
        order = order.and(&product, 1_000_000);
    }
    let body = serde_json::to_vec(&order)?;
    assert!(body.len() > 150_000 && body.len() <= 256 * 1024, "{}", body.len());
    let correlation_id = "c".repeat(128);
    let placed = Placed::from_response(&system.post(&body, &[("x-correlation-id", &correlation_id)]).await?)?;
    let shown = system.wait_settled(&placed.order_id).await?;
    assert_eq!((shown.status, &shown.customer_id), (OrderStatus::Delivered.into(), &order.customer_id));
    assert_eq!(serde_json::to_value(&shown.items)?, json!(order.items));
    let call = &system.fulfillment_api.calls_about(&placed.order_id)[0];
    assert_eq!(call.correlation_id, Some(correlation_id));
    Ok(())
}

#[tokio::test]
async fn an_unknown_order_is_not_found() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    for order_id in [Uuid::now_v7().to_string(), "7".to_owned()] {
        let response = system.producer()?.get(&format!("/v1/orders/{order_id}")).await?;
        assert_eq!(response.status(), 404, "{order_id}");
    }
    Ok(())
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is not a text"))
}
