//! Dead letters: whoever made them, they are in the list, and in no queue.

use anyhow::{Context, Result};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties,
    options::{BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{AMQPValue, ByteArray, FieldTable},
};
use serde_json::{Value, json};
use tests::{
    order::Order,
    system::{Role, System},
};

use crate::{
    crowd,
    link::link,
    scrape,
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

/// Nothing is ready in the dead-letter queue, and, since its consumer has left, nothing unsettled either.
async fn nothing_is_left(system: &mut System, destination: &str) -> Result<()> {
    system.terminate(Role::Producer).await?;
    let queue = system.names.dead_letters(destination);
    assert_eq!(system.queues().await?.depth(&queue).await?.ready, 0, "{queue}");
    Ok(())
}

async fn rejected_and_exhausted_orders_are_listed_with_every_attempt(store: &Store) -> Result<()> {
    let mut system = store.builder().with_quick_retries().start().await?;
    let refused = system.place(&Order::of("inventory-status-422")).await?;
    let exhausted = system.place(&Order::of("fulfillment-status-503")).await?;
    let letters = system.wait_for_dead_letters("", 2).await?;
    for (placed, destination, reason, status, attempts) in
        [(&refused, "inventory", "rejected", 422, 1), (&exhausted, "fulfillment", "attempts_exhausted", 503, 5)]
    {
        let found = letters.iter().find(|letter| letter["order_id"] == *placed.order_id).context("listed")?;
        assert_eq!((&found["destination"], &found["reason"]), (&json!(destination), &json!(reason)), "{found}");
        assert_eq!((&found["status_code"], &found["error"]), (&json!(status), &Value::Null), "{found}");
        assert_eq!(found["attempts"].as_array().map(Vec::len), Some(attempts), "{found}");
        let order = system.wait_settled(&placed.order_id).await?;
        assert_eq!(order["deliveries"][destination]["attempts"], found["attempts"], "{order}");
        let one = system.dead_letter(&found["id"]).await?;
        let event: Value = serde_json::from_str(one["body"].as_str().context("a text")?)?;
        assert_eq!((&event["order_id"], &one["body_encoding"]), (&json!(placed.order_id), &json!("utf8")));
        assert_eq!(
            (&one["properties"]["type"], &one["properties"]["delivery_mode"]),
            (&json!("OrderCreated"), &json!(2))
        );
        assert_eq!(one["properties"]["message_id"], event["event_id"]);
        assert_eq!(one["deaths"][0]["reason"], "rejected", "{one}");
    }
    let (collected, labels) =
        ("tandem_dead_letters_collected_total", [("destination", "inventory"), ("reason", "rejected")]);
    scrape::wait_for(system.producer()?, collected, &labels, |count| count == 1.0).await?;
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
        .with_content_type("text/strange".into())
        .with_app_id("somebody".into())
        .with_message_id("not-a-uuid".into())
        .with_headers(headers);
    let queue = system.names.inventory();
    for body in [&large[..], b"no json", b"\xff\xfe", &large[1..]] {
        system.queues().await?.publish("", &queue, body, properties.clone()).await?;
    }
    let letters = system.wait_for_dead_letters("destination=inventory&reason=unreadable", 4).await?;
    let mut sizes = Vec::new();
    for letter in &letters {
        let one = system.dead_letter(&letter["id"]).await?;
        assert_eq!((&one["order_id"], &one["attempts"]), (&Value::Null, &json!([])));
        assert_eq!(one["headers"]["bytes"], json!({"$bytes": "/wA="}));
        assert_eq!(one["headers"]["since"], json!({"$timestamp": "2023-11-14T22:13:20Z"}));
        assert_eq!(one["headers"]["count"], json!(i64::MIN));
        let [kind, id, app] = ["content_type", "message_id", "app_id"].map(|name| &one["properties"][name]);
        assert_eq!((kind, id, app), (&json!("text/strange"), &json!("not-a-uuid"), &json!("somebody")));
        let body = one["body"].as_str().context("a text")?;
        let encoding = one["body_encoding"].as_str().context("an encoding")?;
        sizes.push((encoding.to_owned(), body.len()));
        if body.len() > 100 {
            // The first four characters stand for A5 A4 A7, or for A4 A7 A6.
            assert!(body.starts_with("paSn") || body.starts_with("pKem"), "{}", &body[..8]);
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
    // As if a worker had died between the nack and everything else.
    let queue = system.names.dead_letters("inventory");
    let body = event.to_string();
    system.queues().await?.wait_for_consumers(&queue, 1).await?;
    system.queues().await?.publish("", &queue, body.as_bytes(), BasicProperties::default()).await?;
    let letters = system.wait_for_dead_letters("", 1).await?;
    assert_eq!((&letters[0]["reason"], &letters[0]["order_id"]), (&json!("unreadable"), &json!(placed.order_id)));
    let dead = |order: &Value| order["deliveries"]["inventory"]["status"] == "dead_lettered";
    let order = system.wait_for_order(&placed.order_id, "dead-lettered", dead).await?;
    assert_eq!(order["deliveries"]["inventory"]["reason"], "unreadable", "{order}");
    Ok(())
}

async fn a_message_beyond_the_delivery_limit_settles_its_order(store: &Store) -> Result<()> {
    let system = store.builder().without_workers().start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let queue = system.names.inventory();
    let queues = system.queues().await?;
    queues.wait_for_depth(&queue, "the event", |depth| depth.ready == 1).await?;
    let channel = queues.channel().await?;
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let consume =
        channel.basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consume.await?;
    // A hundred may come back; with the next one the broker gives it up.
    for _ in 0..=100 {
        let delivery = consumer.next().await.context("a delivery")??;
        delivery.nack(BasicNackOptions { requeue: true, multiple: false }).await?;
    }
    let letters = system.wait_for_dead_letters("reason=delivery_limit", 1).await?;
    assert_eq!(letters[0]["order_id"], placed.order_id, "{}", letters[0]);
    let dead = |order: &Value| order["deliveries"]["inventory"]["status"] == "dead_lettered";
    let order = system.wait_for_order(&placed.order_id, "dead-lettered", dead).await?;
    assert_eq!(order["deliveries"]["inventory"]["reason"], "delivery_limit", "{order}");
    assert_eq!(system.dead_letter(&letters[0]["id"]).await?["deaths"][0]["reason"], "delivery_limit");
    Ok(())
}

async fn a_dead_letter_without_a_report_is_shown_as_unreported(store: &Store) -> Result<()> {
    let system = store.builder().without_workers().start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let queue = system.names.inventory();
    let queues = system.queues().await?;
    queues.wait_for_depth(&queue, "the event", |depth| depth.ready == 1).await?;
    let channel = queues.channel().await?;
    let consume =
        channel.basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let delivery = consume.await?.next().await.context("a delivery")??;
    let event: Value = serde_json::from_slice(&delivery.data)?;
    delivery.nack(BasicNackOptions { requeue: false, multiple: false }).await?;
    let letters = system.wait_for_dead_letters("reason=unreported", 1).await?;
    assert_eq!(letters[0]["order_id"], placed.order_id, "{}", letters[0]);

    // The report comes late, and tells more.
    let report = json!({"outcomes": [{"event_id": event["event_id"], "order_id": placed.order_id, "status": "dead_lettered",
        "correlation_id": placed.correlation_id, "destination": "inventory", "reason": "rejected",
        "attempts": [{"at": "2026-01-02T03:04:05Z", "duration_ms": 3, "status_code": 409}], "settled_at": "2026-01-02T03:04:05Z"}]});
    let outcomes = system.names.outcomes();
    system.queues().await?.publish("", &outcomes, report.to_string().as_bytes(), BasicProperties::default()).await?;
    let corrected = system.wait_for_dead_letters("reason=rejected&status_code=409", 1).await?;
    assert_eq!(
        (&corrected[0]["id"], &corrected[0]["attempts"]),
        (&letters[0]["id"], &report["outcomes"][0]["attempts"])
    );
    let rejected = |order: &Value| order["deliveries"]["inventory"]["reason"] == "rejected";
    system.wait_for_order(&placed.order_id, "rejected", rejected).await.map(drop)
}

async fn a_producer_killed_before_it_acknowledges_lists_a_dead_letter_once(store: &Store) -> Result<()> {
    let (proxy, url) = link().await?;
    let mut system = store.builder().amqp_url(Role::Producer, &url).without(Role::Inventory).start().await?;
    let placed = system.place(&Order::of("inventory-status-422")).await?;
    let (queue, dead) = (system.names.inventory(), system.names.dead_letters("inventory"));
    system.queues().await?.wait_for_depth(&queue, "the event", |depth| depth.ready == 1).await?;
    // The acknowledgement does not get through, and the commit does.
    proxy.mute().await?;
    system.start_ready(Role::Inventory).await?;
    let letters = system.wait_for_dead_letters("", 1).await?;
    system.kill9(Role::Producer).await?;
    proxy.cut().await?;
    let back = |depth: tests::queues::Depth| depth.ready == 1;
    system.queues().await?.wait_for_depth(&dead, "the dead letter again", back).await?;
    proxy.heal().await?;

    system.start_ready(Role::Producer).await?;
    let gone = |depth: tests::queues::Depth| depth.ready == 0 && depth.consumers == 1;
    system.queues().await?.wait_for_depth(&dead, "nothing", gone).await?;
    nothing_is_left(&mut system, "inventory").await?;
    system.start_ready(Role::Producer).await?;
    let again = system.wait_for_dead_letters("", 1).await?;
    assert_eq!((&again[0]["id"], &again[0]["order_id"]), (&letters[0]["id"], &json!(placed.order_id)));
    Ok(())
}

async fn an_unreadable_report_is_listed_as_a_dead_letter(store: &Store) -> Result<()> {
    let mut system = store.builder().start().await?;
    let queue = system.names.outcomes();
    system.queues().await?.publish("", &queue, b"no report", BasicProperties::default()).await?;
    let letters = system.wait_for_dead_letters("destination=outcomes", 1).await?;
    assert_eq!((&letters[0]["reason"], &letters[0]["order_id"]), (&json!("unreadable"), &Value::Null));
    assert_eq!(system.dead_letter(&letters[0]["id"]).await?["body"], "no report");
    let placed = system.place(&Order::healthy()).await?;
    crowd::delivered_once(&system, &[placed.order_id]).await?;
    nothing_is_left(&mut system, "outcomes").await
}

async fn without_the_collector_dead_letters_stay_in_their_queues(store: &Store) -> Result<()> {
    let mut system = store.builder().without_collector().start().await?;
    let placed = system.place(&Order::of("inventory-status-422")).await?;
    assert_eq!(system.wait_settled(&placed.order_id).await?["status"], "partially_delivered");
    let queue = system.names.dead_letters("inventory");
    let one = |depth: tests::queues::Depth| (depth.ready, depth.consumers) == (1, 0);
    system.queues().await?.wait_for_depth(&queue, "a dead letter and no consumer", one).await?;
    assert!(system.wait_for_dead_letters("", 0).await?.is_empty());

    system.terminate(Role::Producer).await?;
    system.start_process(Role::Producer, &[("DEAD_LETTER_COLLECTOR", "on")])?;
    let letters = system.wait_for_dead_letters("", 1).await?;
    assert_eq!((&letters[0]["order_id"], &letters[0]["reason"]), (&json!(placed.order_id), &json!("rejected")));
    let up = [("destination", "inventory")];
    scrape::wait_for(system.producer()?, "tandem_collector_up", &up, |up| up == 1.0).await
}
