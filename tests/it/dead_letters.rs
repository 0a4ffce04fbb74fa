//! Dead letters: whatever made them, they are in the list and leave their queue.

use anyhow::{Context, Result};
use api::{BodyEncoding, DeadLetter, DeadLetterGroup, DeliveryStatus, List, OrderStatus, Reason};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{AMQPValue, ByteArray, FieldTable},
};
use serde_json::{Value, json};
use tests::{
    order::Order,
    queues::{Depth, Queues},
    system::{Role, System},
    waiting::{PATIENCE, within},
};

use crate::{
    broker_proxy::broker_proxy,
    orders,
    stores::{Store, over_both_stores},
};

over_both_stores!(
    rejected_and_exhausted_orders_are_listed_with_every_attempt,
    foreign_messages_are_kept_whole_as_dead_letters,
    an_unreadable_event_with_an_order_id_settles_its_delivery,
    a_message_beyond_the_delivery_limit_settles_its_order,
    a_dead_letter_without_a_report_is_shown_as_unreported,
    a_producer_killed_before_it_acknowledges_lists_a_dead_letter_once,
    an_unreadable_report_is_listed_as_a_dead_letter,
    without_the_collector_dead_letters_stay_in_their_queues,
);

/// Checks that nothing is left in the dead-letter queue, ready or unsettled: its consumer ends first.
async fn nothing_is_left(system: &mut System, destination: &str) -> Result<()> {
    system.terminate(Role::Producer).await?;
    let queue = system.names.dead_letters(destination);
    assert_eq!(system.queues().await?.depth(&queue).await?.ready, 0, "{queue}");
    Ok(())
}

/// A consumer of the queue, which takes one message at a time.
async fn consume(queues: &Queues, queue: &str) -> Result<Consumer> {
    let channel = queues.channel().await?;
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    Ok(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?)
}

async fn next(consumer: &mut Consumer) -> Result<Delivery> {
    let delivery = within("a delivery", PATIENCE, consumer.next(), || "none".to_owned()).await?;
    Ok(delivery.context("the consumer was cancelled")??)
}

async fn rejected_and_exhausted_orders_are_listed_with_every_attempt(store: &Store) -> Result<()> {
    let mut system = store.builder().with_quick_retries().start().await?;
    let rejected = system.place(&Order::of("inventory-status-422")).await?;
    let exhausted = system.place(&Order::of("fulfillment-status-503")).await?;
    let letters = system.wait_for_dead_letters("", 2).await?;
    for (placed, destination, reason, status, attempts) in [
        (&rejected, "inventory", Reason::Rejected, 422, 1),
        (&exhausted, "fulfillment", Reason::AttemptsExhausted, 503, 5),
    ] {
        let of_order = |id: &Option<String>| id.as_ref() == Some(&placed.order_id);
        let found = letters.iter().find(|letter| of_order(&letter.order_id)).context("a dead letter of the order")?;
        assert_eq!((&*found.destination, &found.reason), (destination, &reason.into()));
        assert_eq!((found.status_code, &found.error, found.attempts.len()), (Some(status), &None, attempts));
        let order = system.wait_settled(&placed.order_id).await?;
        assert_eq!(order.deliveries[destination].attempts, found.attempts);
        let answer = Some(r#"{"error":"as asked for"}"#);
        assert_eq!((found.answer.as_deref(), found.attempts[0].answer.as_deref()), (answer, answer));
        let groups: List<DeadLetterGroup> =
            system.get(&format!("/v1/dead-letters:groups?destination={destination}")).await?;
        assert_eq!((groups.items.len(), groups.items[0].answer.as_deref()), (1, answer));
        // It is listed with the report. How the broker saw it comes with the copy in its queue.
        let path = format!("/v1/dead-letters/{}", found.id);
        let one: DeadLetter = system.wait_for(&path, "a death", |one: &DeadLetter| !one.deaths.is_empty()).await?;
        let event: Value = serde_json::from_str(&one.body)?;
        assert_eq!((&event["order_id"], one.body_encoding), (&json!(placed.order_id), BodyEncoding::Utf8.into()));
        assert_eq!((&one.properties["type"], &one.properties["delivery_mode"]), (&json!("OrderCreated"), &json!(2)));
        assert_eq!(one.properties["message_id"], event["event_id"]);
        assert_eq!(one.deaths[0]["reason"], "rejected");
    }
    let (collected, labels) =
        ("tandem_dead_letters_collected_total", [("destination", "inventory"), ("reason", "rejected")]);
    system.producer()?.wait_for_metric(collected, &labels, |count| count == 1.0).await?;
    for destination in ["inventory", "fulfillment"] {
        nothing_is_left(&mut system, destination).await?;
        system.start_ready(Role::Producer).await?;
    }
    Ok(())
}

async fn foreign_messages_are_kept_whole_as_dead_letters(store: &Store) -> Result<()> {
    let mut system = store.builder().start().await?;
    let large: Vec<u8> = (0..5_000_000_u32).map(|number| number.to_le_bytes()[0] ^ 0xA5).collect();
    let mut headers = FieldTable::default();
    headers.insert("bytes".into(), AMQPValue::ByteArray(ByteArray::from(vec![0xff, 0])));
    headers.insert("since".into(), AMQPValue::Timestamp(1_700_000_000));
    headers.insert("count".into(), AMQPValue::LongLongInt(i64::MIN));
    let properties = BasicProperties::default()
        .with_content_type("text/foreign".into())
        .with_app_id("foreign".into())
        .with_message_id("not-a-uuid".into())
        .with_headers(headers);
    let queue = system.names.inventory();
    for body in [&large[..], b"no json", b"\xff\xfe", &large[1..]] {
        system.queues().await?.publish("", &queue, body, properties.clone()).await?;
    }
    let letters = system.wait_for_dead_letters("destination=inventory&reason=unreadable", 4).await?;
    let mut sizes = Vec::new();
    for letter in &letters {
        let one = system.dead_letter(&letter.id).await?;
        assert_eq!((&one.order_id, &*one.attempts), (&None, &[][..]));
        assert_eq!(one.headers["bytes"], json!({"$bytes": "/wA="}));
        assert_eq!(one.headers["since"], json!({"$timestamp": "2023-11-14T22:13:20Z"}));
        assert_eq!(one.headers["count"], json!(i64::MIN));
        let properties = ["content_type", "message_id", "app_id"].map(|name| &one.properties[name]);
        assert_eq!(properties, ["text/foreign", "not-a-uuid", "foreign"]);
        sizes.push((one.body_encoding.to_string(), one.body.len()));
        if one.body.len() > 100 {
            // The first four characters stand for A5 A4 A7, or for A4 A7 A6.
            assert!(one.body.starts_with("paSn") || one.body.starts_with("pKem"), "{}", &one.body[..8]);
        }
    }
    sizes.sort();
    let expected = [("base64", 4), ("base64", 6_666_668), ("base64", 6_666_668), ("utf8", 7)];
    assert_eq!(sizes, expected.map(|(encoding, length)| (encoding.to_owned(), length)));
    nothing_is_left(&mut system, "inventory").await
}

async fn an_unreadable_event_with_an_order_id_settles_its_delivery(store: &Store) -> Result<()> {
    let system = store.builder().without_workers().start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let event = json!({"event_type": "OrderCreated", "event_id": uuid::Uuid::now_v7(), "order_id": placed.order_id,
        "correlation_id": "c", "items": "none"});
    // As if a worker had been killed after the nack and before the report.
    let queue = system.names.dead_letters("inventory");
    let body = event.to_string();
    system.queues().await?.publish("", &queue, body.as_bytes(), BasicProperties::default()).await?;
    let letters = system.wait_for_dead_letters("", 1).await?;
    assert_eq!(
        (&letters[0].reason, &letters[0].order_id),
        (&Reason::Unreadable.into(), &Some(placed.order_id.clone()))
    );
    let order = system.wait_for_delivery(&placed.order_id, "inventory", DeliveryStatus::DeadLettered).await?;
    assert_eq!(order.deliveries["inventory"].reason, Some(Reason::Unreadable.into()));
    Ok(())
}

async fn a_message_beyond_the_delivery_limit_settles_its_order(store: &Store) -> Result<()> {
    let system = store.builder().without_workers().start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let mut consumer = consume(system.queues().await?, &system.names.inventory()).await?;
    // A message may return a hundred times; the next time, the broker gives it up.
    for _ in 0..=100 {
        let delivery = next(&mut consumer).await?;
        delivery.nack(BasicNackOptions { requeue: true, multiple: false }).await?;
    }
    let letters = system.wait_for_dead_letters("reason=delivery_limit", 1).await?;
    assert_eq!(letters[0].order_id.as_ref(), Some(&placed.order_id));
    let order = system.wait_for_delivery(&placed.order_id, "inventory", DeliveryStatus::DeadLettered).await?;
    assert_eq!(order.deliveries["inventory"].reason, Some(Reason::DeliveryLimit.into()));
    assert_eq!(system.dead_letter(&letters[0].id).await?.deaths[0]["reason"], "delivery_limit");
    Ok(())
}

async fn a_dead_letter_without_a_report_is_shown_as_unreported(store: &Store) -> Result<()> {
    let system = store.builder().without_workers().start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let mut consumer = consume(system.queues().await?, &system.names.inventory()).await?;
    let delivery = next(&mut consumer).await?;
    let event: Value = serde_json::from_slice(&delivery.data)?;
    delivery.nack(BasicNackOptions { requeue: false, multiple: false }).await?;
    let letters = system.wait_for_dead_letters("reason=unreported", 1).await?;
    assert_eq!(letters[0].order_id.as_ref(), Some(&placed.order_id));

    // A report that comes late has the reason and the attempts.
    let report = json!({"outcomes": [{"event_id": event["event_id"], "order_id": placed.order_id, "status": "dead_lettered",
        "correlation_id": placed.correlation_id, "destination": "inventory", "reason": "rejected",
        "attempts": [{"at": "2026-01-02T03:04:05Z", "duration_ms": 3, "status_code": 409}], "settled_at": "2026-01-02T03:04:05Z"}]});
    let outcomes = system.names.outcomes();
    system.queues().await?.publish("", &outcomes, report.to_string().as_bytes(), BasicProperties::default()).await?;
    let corrected = system.wait_for_dead_letters("reason=rejected&status_code=409", 1).await?;
    assert_eq!(corrected[0].id, letters[0].id);
    assert_eq!(serde_json::to_value(&corrected[0].attempts)?, report["outcomes"][0]["attempts"]);
    let rejected = |order: &api::Order| order.deliveries["inventory"].reason == Some(Reason::Rejected.into());
    system.wait_for_order(&placed.order_id, "rejected", rejected).await.map(drop)
}

async fn a_producer_killed_before_it_acknowledges_lists_a_dead_letter_once(store: &Store) -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    let mut system = store.builder().amqp_url(Role::Producer, &url).without(Role::Inventory).start().await?;
    let placed = system.place(&Order::of("inventory-status-422")).await?;
    let (queue, dead) = (system.names.inventory(), system.names.dead_letters("inventory"));
    system.queues().await?.wait_for_depth(&queue, "the event", |depth| depth.ready == 1).await?;
    // The dead letter arrives and is stored, and its acknowledgement does not get through.
    proxy.mute().await?;
    system.start_ready(Role::Inventory).await?;
    let letters = system.wait_for_dead_letters("", 1).await?;
    system.kill9(Role::Producer).await?;
    proxy.cut().await?;
    system.queues().await?.wait_for_depth(&dead, "the dead letter again", |depth| depth.ready == 1).await?;
    proxy.heal().await?;

    system.start_ready(Role::Producer).await?;
    let gone = |depth: Depth| (depth.ready, depth.consumers) == (0, 1);
    system.queues().await?.wait_for_depth(&dead, "nothing", gone).await?;
    nothing_is_left(&mut system, "inventory").await?;
    system.start_ready(Role::Producer).await?;
    let again = system.wait_for_dead_letters("", 1).await?;
    assert_eq!((&again[0].id, &again[0].order_id), (&letters[0].id, &Some(placed.order_id)));
    Ok(())
}

async fn an_unreadable_report_is_listed_as_a_dead_letter(store: &Store) -> Result<()> {
    let mut system = store.builder().start().await?;
    let queue = system.names.outcomes();
    system.queues().await?.publish("", &queue, b"no report", BasicProperties::default()).await?;
    let letters = system.wait_for_dead_letters("destination=outcomes", 1).await?;
    assert_eq!((&letters[0].reason, &letters[0].order_id), (&Reason::Unreadable.into(), &None));
    assert_eq!(system.dead_letter(&letters[0].id).await?.body, "no report");
    let placed = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[placed.order_id]).await?;
    nothing_is_left(&mut system, "outcomes").await
}

async fn without_the_collector_dead_letters_stay_in_their_queues(store: &Store) -> Result<()> {
    let mut system = store.builder().without_collector().start().await?;
    let placed = system.place(&Order::of("inventory-status-422")).await?;
    assert_eq!(system.wait_settled(&placed.order_id).await?.status, OrderStatus::PartiallyDelivered);
    let queue = system.names.dead_letters("inventory");
    let one = |depth: Depth| (depth.ready, depth.consumers) == (1, 0);
    system.queues().await?.wait_for_depth(&queue, "a dead letter and no consumer", one).await?;
    // It is listed with its report; how the broker saw it is not known.
    let letters = system.wait_for_dead_letters("", 1).await?;
    assert_eq!((&letters[0].order_id, &letters[0].reason), (&Some(placed.order_id), &Reason::Rejected.into()));
    assert!(system.dead_letter(&letters[0].id).await?.deaths.is_empty());

    system.terminate(Role::Producer).await?;
    system.start_process(Role::Producer, &[("DEAD_LETTER_COLLECTOR", "on")])?;
    let path = format!("/v1/dead-letters/{}", letters[0].id);
    system.wait_for(&path, "a death", |one: &DeadLetter| !one.deaths.is_empty()).await?;
    assert_eq!(system.wait_for_dead_letters("", 1).await?[0].id, letters[0].id);
    let up = [("destination", "inventory")];
    system.producer()?.wait_for_metric("tandem_collector_up", &up, |up| up == 1.0).await
}
