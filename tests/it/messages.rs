//! Messages that a service does not expect.

use anyhow::{Context, Result};
use api::{DeliveryStatus, Reason, Word};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use serde_json::{Value, json};
use tests::{
    order::Order,
    queues::Message,
    system::{Role, System},
};
use uuid::Uuid;

use crate::{
    orders,
    probe::Probe,
    stores::{Store, over_both_stores},
};

#[tokio::test]
async fn unreadable_messages_are_dead_lettered_unchanged() -> Result<()> {
    let system = System::builder().without_collector().start().await?;
    let deep = "[".repeat(10_000);
    let half = json!({"event_type": "OrderCreated", "event_id": uuid::Uuid::now_v7()}).to_string();
    let large = vec![b'x'; 1_000_000];
    let bodies: [&[u8]; 7] =
        [b"", b"no json", b"\xff\xfe\x00", b"{\"event_type\":7}", deep.as_bytes(), half.as_bytes(), &large];
    let mut headers = FieldTable::default();
    headers.insert("x-mine".into(), AMQPValue::LongString(LongString::from("kept")));
    headers.insert("number".into(), AMQPValue::LongInt(-7));
    let properties = BasicProperties::default()
        .with_content_type("text/foreign".into())
        .with_message_id("not-a-uuid".into())
        .with_correlation_id("foreign".into())
        .with_type("Foreign".into())
        .with_timestamp(1)
        .with_headers(headers.clone());
    for body in bodies {
        let queues = system.queues().await?;
        queues.publish(system.names.exchange(), "", body, properties.clone()).await?;
        for destination in ["inventory", "fulfillment"] {
            let letter = queues.next(&system.names.dead_letters(destination)).await?;
            assert!(letter.body == body, "{:?} became {:?}", String::from_utf8_lossy(body), letter.body);
            unchanged(&letter, &properties, &headers)?;
        }
    }
    let placed = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[placed.order_id]).await?;
    assert_eq!(system.inventory_api.summary().calls, 1);
    let (worker, unreadable) = (system.process(Role::Inventory)?, [("reason", "unreadable")]);
    worker.wait_for_metric("tandem_dead_letters_total", &unreadable, |count| count == 7.0).await
}

/// Everything is as it was sent, except for what the broker adds about its origin.
fn unchanged(letter: &Message, sent: &BasicProperties, headers: &FieldTable) -> Result<()> {
    let found = letter.properties.headers().clone().context("headers")?;
    for (name, value) in headers.inner() {
        assert_eq!(found.inner().get(name), Some(value));
    }
    assert!(found.inner().contains_key("x-death"));
    let others: Vec<&ShortString> = found
        .inner()
        .keys()
        .filter(|name| !headers.inner().contains_key(*name) && !name.as_str().starts_with("x-"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let without_headers = |properties: &BasicProperties| properties.clone().with_headers(FieldTable::default());
    let sent = sent.clone().with_delivery_mode(2);
    assert_eq!(without_headers(&letter.properties), without_headers(&sent));
    Ok(())
}

#[tokio::test]
async fn an_unreadable_event_is_shown_in_the_order_it_names() -> Result<()> {
    let mut system = System::builder().without_collector().without_workers().start().await?;
    let probe = Probe::on(&system).await?;
    let placed = system.place(&Order::healthy()).await?;
    let message = probe.next(&system).await?;
    let mut event: Value = serde_json::from_slice(&message.body)?;
    event["items"] = json!("none");
    let (queue, body) = (system.names.inventory(), event.to_string());
    let queues = system.queues().await?;
    queues.wait_for_depth(&queue, "the event", |depth| depth.ready == 1).await?;
    queues.purge(&queue).await?;
    queues.publish("", &queue, body.as_bytes(), message.properties).await?;

    let worker = system.start_ready(Role::Inventory).await?;
    let line = worker.wait_for_log("a warning", |line| line.text.contains("unreadable")).await?;
    let ids = (line.field("order_id"), line.field("correlation_id"));
    assert_eq!(ids, (Some(&*placed.order_id), Some(&*placed.correlation_id)), "{}", line.text);
    let order = system.wait_for_delivery(&placed.order_id, "inventory", DeliveryStatus::DeadLettered).await?;
    let delivery = &order.deliveries["inventory"];
    assert_eq!((&delivery.reason, &*delivery.attempts), (&Some(Reason::Unreadable.into()), &[][..]));
    let letter = system.queues().await?.next(&system.names.dead_letters("inventory")).await?;
    assert_eq!(letter.body, body.as_bytes());
    assert_eq!(system.inventory_api.summary().calls, 0);
    Ok(())
}

#[tokio::test]
async fn foreign_messages_with_large_headers_cost_no_second_call() -> Result<()> {
    let system = System::builder().env(Role::Inventory, "REQUEST_TIMEOUT", "2m").without_collector().start().await?;
    let running = system.place(&Order::of("inventory-slow-3s")).await?;
    system.inventory_api.wait_for_calls(&running.order_id, 1).await?;
    let queues = system.queues().await?;
    // Larger than those of any service; the last are larger than what a consumer accepts at first, up to what a broker
    // accepts.
    for bytes in [20_000, 40_000, 130_000] {
        let mut headers = FieldTable::default();
        headers.insert("large".into(), AMQPValue::LongString(LongString::from("x".repeat(bytes))));
        let properties = BasicProperties::default().with_headers(headers.clone());
        for queue in [system.names.inventory(), system.names.outcomes()] {
            queues.publish("", &queue, b"no json", properties.clone()).await?;
            let letter = queues.next(&format!("{queue}.dlq")).await?;
            assert_eq!(letter.body, b"no json");
            unchanged(&letter, &properties, &headers)?;
            // The broker did not give it up after a hundred connections.
            let death =
                letter.properties.headers().as_ref().and_then(|found| found.inner().get("x-first-death-reason"));
            assert_eq!(death, Some(&AMQPValue::LongString("rejected".into())), "{bytes} bytes in {queue}");
        }
    }
    let placed = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[running.order_id, placed.order_id]).await?;
    assert_eq!(system.inventory_api.summary().calls, 2);
    Ok(())
}

#[tokio::test]
async fn an_unknown_event_type_is_acknowledged_and_counted() -> Result<()> {
    let mut system = System::start().await?;
    let unknown = json!({"event_type": "OrderCancelled", "event_id": 7}).to_string();
    let exchange = system.names.exchange().to_owned();
    system.queues().await?.publish(&exchange, "", unknown.as_bytes(), BasicProperties::default()).await?;
    for (role, destination) in [(Role::Inventory, "inventory"), (Role::Fulfillment, "fulfillment")] {
        let labels = [("destination", destination)];
        system.process(role)?.wait_for_metric("tandem_unknown_events_total", &labels, |count| count == 1.0).await?;
        // What is not acknowledged would return to the queue.
        system.terminate(role).await?;
        let queues = system.queues().await?;
        assert_eq!(queues.depth(&system.names.queue(destination)).await?.ready, 0);
        assert_eq!(queues.depth(&system.names.dead_letters(destination)).await?.ready, 0);
    }
    assert_eq!(system.inventory_api.summary().calls + system.fulfillment_api.summary().calls, 0);
    Ok(())
}

#[tokio::test]
async fn unknown_fields_and_missing_properties_are_tolerated() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    let probe = Probe::on(&system).await?;
    let placed = system.place(&Order::healthy()).await?;
    let mut event: Value = serde_json::from_slice(&probe.next(&system).await?.body)?;
    event["added"] = json!({"deep": [1, {"deeper": null}]});
    event["items"][0]["added"] = json!("too");
    let queues = system.queues().await?;
    for queue in [system.names.inventory(), system.names.fulfillment()] {
        queues.wait_for_depth(&queue, "the event", |depth| depth.ready == 1).await?;
        queues.purge(&queue).await?;
        queues.publish("", &queue, event.to_string().as_bytes(), BasicProperties::default()).await?;
    }
    let mut system = system;
    system.start_ready(Role::Inventory).await?;
    system.start_ready(Role::Fulfillment).await?;
    orders::delivered_once(&system, &[placed.order_id]).await
}

over_both_stores!(
    an_unreadable_report_does_not_stop_the_ledger,
    a_report_of_a_newer_version_is_recorded_as_far_as_it_is_known,
);

async fn an_unreadable_report_does_not_stop_the_ledger(store: &Store) -> Result<()> {
    let system = store.builder().without_collector().start().await?;
    let queues = system.queues().await?;
    // Of the right form, but without the name of a destination; no database could store all of these.
    let report = |destination: &str| {
        let (event_id, order_id) = (Uuid::now_v7(), Uuid::now_v7());
        json!({"outcomes": [{
            "event_id": event_id, "order_id": order_id, "correlation_id": "c", "destination": destination,
            "status": "delivered", "attempts": [], "settled_at": "2026-01-02T03:04:05Z"
        }]})
        .to_string()
    };
    for body in ["no report".to_owned(), report("a\0b"), report(&"long".repeat(2_000)), report("a,b")] {
        queues.publish("", &system.names.outcomes(), body.as_bytes(), BasicProperties::default()).await?;
        assert_eq!(queues.next(&system.names.dead_letters("outcomes")).await?.body, body.as_bytes());
    }
    let placed = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[placed.order_id]).await?;
    system.producer()?.wait_for_metric("tandem_ledger_unreadable_total", &[], |count| count == 4.0).await
}

async fn a_report_of_a_newer_version_is_recorded_as_far_as_it_is_known(store: &Store) -> Result<()> {
    let system = store.builder().without_workers().start().await?;
    let mut orders = Vec::new();
    for _ in 0..3 {
        orders.push(system.place(&Order::healthy()).await?.order_id);
    }
    let line = |order_id: &str, destination: &str, status: &str, reason: Value| {
        json!({
            "event_id": Uuid::now_v7(), "order_id": order_id, "correlation_id": "c", "destination": destination,
            "delivery_id": "new", "status": status, "reason": reason, "settled_at": "2026-01-02T03:04:05Z",
            "attempts": [{"at": "2026-01-02T03:04:04Z", "duration_ms": 9, "status_code": 202, "via": {"new": [1]}}],
        })
    };
    let held = line(&orders[1], "inventory", "held", Value::Null);
    let report = json!({
        "outcomes": [
            line(&orders[0], "inventory", "delivered", Value::Null),
            held,
            "a line of another form",
            line(&orders[2], "inventory", "dead_lettered", json!("outcome_unknown")),
        ],
        "new": true,
    });
    let queues = system.queues().await?;
    let properties = BasicProperties::default().with_type("Outcomes".into());
    queues.publish("", &system.names.outcomes(), report.to_string().as_bytes(), properties).await?;

    // Its neighbours are recorded, the reason as the text that it is.
    system.wait_for_delivery(&orders[0], "inventory", DeliveryStatus::Delivered).await?;
    let dead = system.wait_for_delivery(&orders[2], "inventory", DeliveryStatus::DeadLettered).await?;
    let delivery = &dead.deliveries["inventory"];
    assert_eq!(delivery.reason.as_ref().map(Word::as_str), Some("outcome_unknown"));
    assert_eq!(delivery.attempts[0].status_code, Some(202));
    system.producer()?.wait_for_metric("tandem_ledger_unreadable_total", &[], |count| count == 2.0).await?;

    // What cannot be read is kept alone, so that it can be sent again after an upgrade.
    let letters = system.wait_for_dead_letters("destination=outcomes", 2).await?;
    let mut bodies = Vec::new();
    for letter in &letters {
        assert_eq!(letter.reason, Reason::Unreadable);
        let whole = system.dead_letter(&letter.id).await?;
        bodies.push(serde_json::from_str::<Value>(&whole.body)?);
    }
    assert!(bodies.contains(&json!({"outcomes": [held]})), "{bodies:?}");
    assert_eq!(queues.depth(&system.names.dead_letters("outcomes")).await?.ready, 0);
    Ok(())
}
