//! Duplicates: from a broker that delivers twice, and from a client that requests twice.

use anyhow::{Context, Result};
use api::{DeliveryStatus, OrderStatus};
use futures_util::future::try_join_all;
use tests::{
    order::Order,
    system::{Placed, Response, Role, System},
};

use crate::{orders, probe::Probe};

#[tokio::test]
async fn duplicates_of_an_event_have_one_effect() -> Result<()> {
    let mut system = System::start().await?;
    let probe = Probe::on(&system).await?;
    let placed = system.place(&Order::of("slow-500ms")).await?;
    let event = probe.next(&system).await?;
    // Twice during the calls, and twice after them.
    for _ in 0..2 {
        probe.publish_again(&system, &event).await?;
    }
    system.wait_settled(&placed.order_id).await?;
    for _ in 0..2 {
        probe.publish_again(&system, &event).await?;
    }
    let last = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[placed.order_id.clone(), last.order_id]).await?;
    for api in [&system.inventory_api, &system.fulfillment_api] {
        assert_eq!(api.calls_about(&placed.order_id).len(), 1);
    }
    // All of them are settled: nothing returns to the queues when the workers are gone.
    for (role, destination) in [(Role::Inventory, "inventory"), (Role::Fulfillment, "fulfillment")] {
        system.terminate(role).await?;
        let queues = system.queues().await?;
        assert_eq!(queues.depth(&system.names.queue(destination)).await?.ready, 0);
        assert_eq!(queues.depth(&system.names.dead_letters(destination)).await?.ready, 0);
    }
    let order = system.order(&placed.order_id).await?;
    assert_eq!(order.deliveries["inventory"].attempts.len(), 1, "{order:?}");
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_sent_again_is_attempted_under_the_same_key() -> Result<()> {
    let system = System::builder().without_collector().with_quick_retries().start().await?;
    system.inventory_api.set_rule("SKU-refused", "status-422".parse()?);
    let placed = system.place(&Order::of("SKU-refused")).await?;
    assert_eq!(system.wait_settled(&placed.order_id).await?.status, OrderStatus::PartiallyDelivered);
    let queues = system.queues().await?;
    let letter = queues.next(&system.names.dead_letters("inventory")).await?;
    system.inventory_api.set_rule("SKU-refused", "status-200".parse()?);
    queues
        .publish("", &system.names.inventory(), &letter.body, letter.properties.with_headers(Default::default()))
        .await?;

    let order = system.wait_for_delivery(&placed.order_id, "inventory", DeliveryStatus::Delivered).await?;
    let statuses: Vec<_> = order.deliveries["inventory"].attempts.iter().map(|attempt| attempt.status_code).collect();
    assert_eq!((order.status, statuses), (OrderStatus::Delivered.into(), vec![Some(422), Some(200)]));
    orders::called_once(&system.inventory_api, &[placed.order_id])
}

#[tokio::test]
async fn one_key_places_one_order_and_refuses_another_body() -> Result<()> {
    let mut system = System::start().await?;
    let first = place(&system, "key-1", &Order::healthy()).await?;
    assert_eq!(first.header("idempotency-replayed"), None);
    let order_id = Placed::from_response(&first)?.order_id;
    for started_again in [false, true] {
        if started_again {
            system.replace(Role::Producer).await?;
        }
        // As a structured string, and bare.
        for key in ["key-1", "\"key-1\""] {
            let again = place(&system, key, &Order::healthy()).await?;
            assert_eq!(again.header("idempotency-replayed"), Some("true"));
            assert_eq!(Placed::from_response(&again)?.order_id, order_id);
        }
        let other = place(&system, "key-1", &Order::of("SKU-2")).await?;
        assert_eq!((other.status, other.header("content-type")), (422, Some("application/problem+json")));
    }
    let second = Placed::from_response(&place(&system, "key-2", &Order::healthy()).await?)?.order_id;
    assert_ne!(second, order_id);
    orders::delivered_once(&system, &[order_id, second]).await?;
    assert_eq!(system.inventory_api.summary().effects, 2);
    Ok(())
}

#[tokio::test]
async fn fifty_concurrent_requests_under_one_key_place_one_order() -> Result<()> {
    let system = System::start().await?;
    let order = Order::healthy();
    let responses = try_join_all((0..50).map(|_| place(&system, "key", &order))).await?;
    let placed = responses.iter().map(Placed::from_response).collect::<Result<Vec<_>>>()?;
    let order_id = placed.first().context("fifty")?.order_id.clone();
    assert!(placed.iter().all(|it| it.order_id == order_id));
    let replayed = responses.iter().filter(|response| response.header("idempotency-replayed") == Some("true")).count();
    assert_eq!(replayed, 49);
    orders::delivered_once(&system, &[order_id]).await?;
    assert_eq!(system.inventory_api.summary().effects, 1);
    let metrics = system.metrics(Role::Producer).await?;
    assert_eq!(metrics.sum("tandem_orders_total", &[("result", "accepted")]), 1.0);
    assert_eq!(metrics.sum("tandem_orders_total", &[("result", "replayed")]), 49.0);
    Ok(())
}

async fn place(system: &System, key: &str, order: &Order) -> Result<Response> {
    system.post(&serde_json::to_vec(order)?, &[("idempotency-key", key)]).await
}
