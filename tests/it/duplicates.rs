//! The same again: from a broker that delivers twice, and from a client that asks twice.

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde_json::json;
use tests::{
    order::Order,
    system::{Answer, Placed, Role, System},
};

use crate::{crowd, probe::Probe};

#[tokio::test]
async fn duplicates_of_an_event_have_one_effect() -> Result<()> {
    let mut system = System::start().await?;
    let probe = Probe::on(&system).await?;
    let placed = system.place(&Order::of("slow-500ms")).await?;
    let event = probe.next(&system).await?;
    // Twice while it is being told, and twice when it has been.
    for _ in 0..2 {
        probe.publish_again(&system, &event).await?;
    }
    system.wait_settled(&placed.order_id).await?;
    for _ in 0..2 {
        probe.publish_again(&system, &event).await?;
    }
    let last = system.place(&Order::healthy()).await?;
    crowd::delivered_once(&system, &[placed.order_id.clone(), last.order_id]).await?;
    for api in [&system.inventory_api, &system.fulfillment_api] {
        assert_eq!(api.calls_about(&placed.order_id).len(), 1);
    }
    // All of them are settled: nothing comes back when the workers leave.
    for (role, destination) in [(Role::Inventory, "inventory"), (Role::Fulfillment, "fulfillment")] {
        system.terminate(role).await?;
        let queues = system.queues().await?;
        assert_eq!(queues.depth(&system.names.queue(destination)).await?.ready, 0);
        assert_eq!(queues.depth(&system.names.dead_letters(destination)).await?.ready, 0);
    }
    let order = system.order(&placed.order_id).await?;
    assert_eq!(order["deliveries"]["inventory"]["attempts"].as_array().map(Vec::len), Some(1), "{order}");
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_sent_again_is_attempted_under_the_same_key() -> Result<()> {
    let system = System::builder().without_collector().with_quick_retries().start().await?;
    system.inventory_api.set_rule("sick", "status-422".parse()?);
    let placed = system.place(&Order::of("sick")).await?;
    assert_eq!(system.wait_settled(&placed.order_id).await?["status"], "partially_delivered");
    let queues = system.queues().await?;
    let letter = queues.next(&system.names.dead_letters("inventory")).await?;
    system.inventory_api.set_rule("sick", "status-200".parse()?);
    queues
        .publish("", &system.names.inventory(), &letter.body, letter.properties.with_headers(Default::default()))
        .await?;

    let mended = |order: &serde_json::Value| order["status"] == "delivered";
    let order = system.wait_for_order(&placed.order_id, "delivered", mended).await?;
    let attempts = &order["deliveries"]["inventory"]["attempts"];
    assert_eq!((&attempts[0]["status_code"], &attempts[1]["status_code"]), (&json!(422), &json!(200)), "{order}");
    crowd::told_once(&system.inventory_api, &[placed.order_id])
}

#[tokio::test]
async fn one_key_places_one_order_and_refuses_another_body() -> Result<()> {
    let mut system = System::start().await?;
    let first = place(&system, "key-1", &Order::healthy()).await?;
    assert_eq!(first.header("idempotency-replayed"), None);
    let order_id = Placed::from_answer(&first)?.order_id;
    for started_again in [false, true] {
        if started_again {
            system.replace(Role::Producer).await?;
        }
        // As a structured string, and as the bare word.
        for key in ["key-1", "\"key-1\""] {
            let again = place(&system, key, &Order::healthy()).await?;
            assert_eq!(again.header("idempotency-replayed"), Some("true"));
            assert_eq!(Placed::from_answer(&again)?.order_id, order_id);
        }
        let other = place(&system, "key-1", &Order::of("SKU-2")).await?;
        assert_eq!((other.status, other.header("content-type")), (422, Some("application/problem+json")));
    }
    let second = Placed::from_answer(&place(&system, "key-2", &Order::healthy()).await?)?.order_id;
    assert_ne!(second, order_id);
    crowd::delivered_once(&system, &[order_id, second]).await?;
    assert_eq!(system.inventory_api.summary().effects, 2);
    Ok(())
}

#[tokio::test]
async fn fifty_concurrent_requests_under_one_key_place_one_order() -> Result<()> {
    let system = System::start().await?;
    let order = Order::healthy();
    let answers = try_join_all((0..50).map(|_| place(&system, "twins", &order))).await?;
    let placed = answers.iter().map(Placed::from_answer).collect::<Result<Vec<_>>>()?;
    let order_id = placed.first().context("fifty")?.order_id.clone();
    assert!(placed.iter().all(|twin| twin.order_id == order_id));
    let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed") == Some("true")).count();
    assert_eq!(replayed, 49);
    crowd::delivered_once(&system, &[order_id]).await?;
    assert_eq!(system.inventory_api.summary().effects, 1);
    let metrics = system.metrics(Role::Producer).await?;
    assert_eq!(metrics.sum("tandem_orders_total", &[("result", "accepted")]), 1.0);
    assert_eq!(metrics.sum("tandem_orders_total", &[("result", "replayed")]), 49.0);
    Ok(())
}

async fn place(system: &System, key: &str, order: &Order) -> Result<Answer> {
    system.post(&serde_json::to_vec(order)?, &[("idempotency-key", key)]).await
}
