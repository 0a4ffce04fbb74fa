//! Deliveries whose API fails, is slow, misbehaves or refuses.

use std::time::Duration;

use anyhow::Result;
use api::{DeliveryStatus, OrderStatus, Reason};
use serde_json::{Value, json};
use tests::{
    fake_api::{FakeApi, Mode, Options},
    log::Line,
    order::Order,
    proxy::FaultProxy,
    system::{Role, System},
};

use crate::orders;

#[tokio::test]
async fn a_failing_api_that_recovers_is_called_under_the_same_key() -> Result<()> {
    let system = System::builder().with_quick_retries().start().await?;
    let placed = system.place(&Order::of("fail-2")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::Delivered);
    for destination in ["inventory", "fulfillment"] {
        assert_eq!(statuses(&order, destination), [Some(503), Some(503), Some(200)]);
    }
    orders::called_once(&system.inventory_api, std::slice::from_ref(&placed.order_id))?;
    orders::called_once(&system.fulfillment_api, &[placed.order_id])
}

#[tokio::test]
async fn exhausted_attempts_end_in_the_dead_letter_queue_and_the_ledger() -> Result<()> {
    let system = System::builder()
        .without_collector()
        .with_quick_retries()
        .env(Role::Fulfillment, "MAX_ATTEMPTS", 4)
        .start()
        .await?;
    let placed = system.place(&Order::of("fulfillment-status-503")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::PartiallyDelivered);
    assert_dead(&order, "fulfillment", Reason::AttemptsExhausted);
    assert_eq!(statuses(&order, "fulfillment"), [Some(503); 4]);
    assert!(order.deliveries["fulfillment"].attempts.is_sorted_by_key(|attempt| attempt.at), "{order:?}");
    assert_eq!(system.fulfillment_api.calls_about(&placed.order_id).len(), 4);

    let queues = system.queues().await?;
    let letter = queues.next(&system.names.dead_letters("fulfillment")).await?;
    let event: Value = serde_json::from_slice(&letter.body)?;
    assert_eq!((&event["event_type"], &event["order_id"]), (&json!("OrderCreated"), &json!(placed.order_id)));
    assert_eq!(queues.depth(&system.names.dead_letters("inventory")).await?.ready, 0);
    Ok(())
}

#[tokio::test]
async fn by_default_inventory_gets_three_attempts_and_fulfillment_five() -> Result<()> {
    let system = System::builder().with_quick_retries().start().await?;
    let placed = system.place(&Order::of("status-503")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::DeadLettered);
    assert_eq!(system.inventory_api.calls_about(&placed.order_id).len(), 3);
    assert_eq!(system.fulfillment_api.calls_about(&placed.order_id).len(), 5);
    Ok(())
}

#[tokio::test]
async fn a_rejected_order_is_dead_lettered_after_one_attempt() -> Result<()> {
    // If a rejection were retried, the first back-off alone would be longer than the test waits.
    let system = System::builder()
        .without_collector()
        .env(Role::Inventory, "BACKOFF_INITIAL", "200s")
        .env(Role::Inventory, "BACKOFF_MAX", "200s")
        .start()
        .await?;
    let placed = system.place(&Order::of("inventory-status-422")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_dead(&order, "inventory", Reason::Rejected);
    assert_eq!(statuses(&order, "inventory"), [Some(422)]);
    assert_eq!(order.deliveries["fulfillment"].status, DeliveryStatus::Delivered);
    assert_eq!(system.inventory_api.calls_about(&placed.order_id).len(), 1);
    let letter = system.queues().await?.next(&system.names.dead_letters("inventory")).await?;
    assert!(String::from_utf8_lossy(&letter.body).contains(&placed.order_id));
    Ok(())
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_counts_as_a_rejection() -> Result<()> {
    let system = System::start().await?;
    let placed = system.place(&Order::of("redirect")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    for (destination, api) in [("inventory", &system.inventory_api), ("fulfillment", &system.fulfillment_api)] {
        assert_dead(&order, destination, Reason::Rejected);
        assert_eq!(statuses(&order, destination), [Some(307)]);
        assert_eq!(api.summary().redirects_followed, 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_retry_after_is_honoured() -> Result<()> {
    let system = System::builder().env_of_workers("BACKOFF_INITIAL", "20ms").start().await?;
    let placed = system.place(&Order::of("retry-after-1")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    for (destination, api) in [("inventory", &system.inventory_api), ("fulfillment", &system.fulfillment_api)] {
        assert_eq!(statuses(&order, destination), [Some(429), Some(200)]);
        let calls = api.calls_about(&placed.order_id);
        let pause = Duration::from_micros(calls[1].at - calls[0].at);
        assert!(pause >= Duration::from_secs(1), "called again after {pause:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_retry_after_beyond_the_time_for_retries_ends_in_expiry() -> Result<()> {
    let system = System::builder().with_quick_retries().env_of_workers("RETRY_FOR", "2s").start().await?;
    let placed = system.place(&Order::of("inventory-retry-after-86400")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_dead(&order, "inventory", Reason::Expired);
    assert_eq!(statuses(&order, "inventory"), [Some(429)]);
    assert_eq!(order.deliveries["fulfillment"].status, DeliveryStatus::Delivered);
    Ok(())
}

#[tokio::test]
async fn a_connection_cut_after_the_effect_is_retried_under_the_same_key() -> Result<()> {
    let system = System::builder().with_quick_retries().start().await?;
    for product in ["cut-after-acting", "cut-1"] {
        let placed = system.place(&Order::of(product)).await?;
        let order = system.wait_settled(&placed.order_id).await?;
        assert_eq!(order.status, OrderStatus::Delivered);
        for (destination, api) in [("inventory", &system.inventory_api), ("fulfillment", &system.fulfillment_api)] {
            assert_eq!(statuses(&order, destination), [None, Some(200)]);
            assert!(order.deliveries[destination].attempts[0].error.is_some(), "{order:?}");
            let calls = api.calls_about(&placed.order_id);
            assert_eq!(
                calls.iter().map(|call| call.effect).collect::<Vec<_>>(),
                [product != "cut-1", product == "cut-1"]
            );
            assert_eq!(calls[0].idempotency_key, calls[1].idempotency_key);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_call_without_a_response_times_out_and_is_repeated() -> Result<()> {
    let system = System::builder()
        .with_quick_retries()
        .env_of_workers("REQUEST_TIMEOUT", "1s")
        .env_of_workers("MAX_ATTEMPTS", 30)
        .start()
        .await?;
    let placed = system.place(&Order::of("inventory-hang-1")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::Delivered);
    let first = &order.deliveries["inventory"].attempts[0];
    assert!(first.status_code.is_none() && first.error.is_some() && first.duration_ms >= 1_000, "{order:?}");
    orders::called_once(&system.inventory_api, &[placed.order_id])
}

#[tokio::test]
async fn an_unreachable_api_is_called_when_it_comes_up() -> Result<()> {
    let api = FakeApi::start(Options::default())?;
    let proxy = FaultProxy::start(&api.address().to_string())?;
    proxy.refuse().await?;
    let system = System::builder()
        .with_quick_retries()
        .env(Role::Inventory, "INVENTORY_API_URL", format!("http://{}", proxy.address()))
        .env(Role::Inventory, "MAX_ATTEMPTS", 100)
        .env(Role::Inventory, "BACKOFF_MAX", "500ms")
        .env(Role::Inventory, "REQUEST_TIMEOUT", "3s")
        .start()
        .await?;
    let placed = system.place(&Order::healthy()).await?;
    let failed = |line: &Line| line.field("order_id") == Some(&placed.order_id);
    system.process(Role::Inventory)?.wait_for_log("a failed attempt", failed).await?;
    proxy.heal().await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::Delivered);
    let error = order.deliveries["inventory"].attempts[0].error.as_ref();
    assert!(error.is_some_and(|error| error.contains("connection failed")), "{order:?}");
    assert_eq!(api.calls_about(&placed.order_id).len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_endless_response_body_is_not_read_to_its_end() -> Result<()> {
    let system = System::start().await?;
    let placed = system.place(&Order::of("huge-body")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::Delivered);
    assert_eq!(system.inventory_api.calls_about(&placed.order_id).len(), 1);
    for role in [Role::Inventory, Role::Fulfillment] {
        let peak = system.process(role)?.usage()?.peak_rss;
        assert!(peak < 200_000_000, "{peak} bytes");
    }
    Ok(())
}

#[tokio::test]
async fn random_failures_and_cuts_leave_exactly_one_effect_of_each_order() -> Result<()> {
    const ORDERS: usize = 300;
    let random = |seed| Options { mode: Mode::Random(30), seed, ..Options::default() };
    let system = System::builder()
        .with_quick_retries()
        .env_of_workers("MAX_ATTEMPTS", 40)
        // After a timeout, the ledger would know less about a call than the API.
        .env_of_workers("REQUEST_TIMEOUT", "10s")
        .inventory_api(random(1))
        .fulfillment_api(random(2))
        .start()
        .await?;
    let order_ids = orders::place(&system, ORDERS, &Order::healthy()).await?;
    orders::delivered_once(&system, &order_ids).await?;
    for api in [&system.inventory_api, &system.fulfillment_api] {
        let summary = api.summary();
        assert!(summary.cuts > 0 && summary.repeats > 0, "{summary:?}");
    }
    // The ledger has exactly the calls that were made.
    for order_id in &order_ids {
        let order = system.order(order_id).await?;
        for (destination, api) in [("inventory", &system.inventory_api), ("fulfillment", &system.fulfillment_api)] {
            let made: Vec<_> = api.calls_about(order_id).iter().map(|call| call.status).collect();
            assert_eq!(statuses(&order, destination), made);
        }
    }
    Ok(())
}

fn assert_dead(order: &api::Order, destination: &str, reason: Reason) {
    let delivery = &order.deliveries[destination];
    assert_eq!((&delivery.status, &delivery.reason), (&DeliveryStatus::DeadLettered.into(), &Some(reason.into())));
}

/// The status code of each attempt, if there was a response.
fn statuses(order: &api::Order, destination: &str) -> Vec<Option<u16>> {
    order.deliveries[destination].attempts.iter().map(|attempt| attempt.status_code).collect()
}
