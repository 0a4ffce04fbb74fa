//! An API that is ill as a whole: orders wait, and none becomes a dead letter.

use std::time::Duration;

use anyhow::{Result, ensure};
use api::{DeliveryStatus, OrderStatus, Reason};
use serde_json::Value;
use tests::{
    fake_api::{Behaviour, FakeApi, Mode, Options},
    log::Line,
    order::Order,
    proxy::FaultProxy,
    system::{Role, System, SystemBuilder},
    waiting::PATIENCE,
};

use crate::orders;

const INVENTORY: [(&str, &str); 1] = [("destination", "inventory")];
/// More calls than the circuit needs to open.
const ORDERS: usize = 60;

/// A system with the default retries, whose inventory API gets one second for an answer.
fn impatient() -> SystemBuilder {
    System::builder().env(Role::Inventory, "REQUEST_TIMEOUT", "1s")
}

/// Places orders while the API is ill, waits until the circuit is open, and heals it: every order must be delivered.
async fn survives(system: &System, heal: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let order_ids = orders::place(system, ORDERS, &Order::healthy()).await?;
    let worker = system.process(Role::Inventory)?;
    worker.wait_for_metric("tandem_circuit_state", &INVENTORY, |state| state == 2.0).await?;
    // The other destination has them all meanwhile.
    system.fulfillment_api.wait_for_effects(ORDERS as u64).await?;
    heal().await?;
    for order in orders::settled(system, &order_ids).await? {
        ensure!(order.status == OrderStatus::Delivered, "{order:?}");
    }
    worker.wait_for_metric("tandem_circuit_state", &INVENTORY, |state| state < 2.0).await?;
    let letters: Value = system.get("/v1/dead-letters").await?;
    ensure!(letters["items"].as_array().is_some_and(Vec::is_empty), "{letters}");
    Ok(())
}

#[tokio::test]
async fn an_api_that_answers_503_makes_no_dead_letters() -> Result<()> {
    let system = impatient().inventory_api(Options { mode: Mode::Down, ..Options::default() }).start().await?;
    survives(&system, async || {
        system.inventory_api.set_mode(Mode::Healthy);
        Ok(())
    })
    .await?;
    // Ten opened the circuit; those that ran at that moment and a few probes came on top.
    let refused = system.inventory_api.calls().iter().filter(|call| call.status == Some(503)).count();
    assert!(refused < 2 * ORDERS, "{refused} calls of a sick API");
    Ok(())
}

#[tokio::test]
async fn an_api_that_hangs_makes_no_dead_letters() -> Result<()> {
    let system = impatient().inventory_api(Options { mode: Mode::Hang, ..Options::default() }).start().await?;
    survives(&system, async || {
        system.inventory_api.set_mode(Mode::Healthy);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_api_that_cuts_connections_makes_no_dead_letters() -> Result<()> {
    let system = impatient().inventory_api(Options { mode: Mode::Cut, ..Options::default() }).start().await?;
    survives(&system, async || {
        system.inventory_api.set_mode(Mode::Healthy);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_api_that_refuses_connections_makes_no_dead_letters_and_spends_no_attempts() -> Result<()> {
    let api = FakeApi::start(Options::default())?;
    let proxy = FaultProxy::start(&api.address().to_string())?;
    proxy.refuse().await?;
    let url = format!("http://{}", proxy.address());
    let system = impatient()
        .env(Role::Inventory, "INVENTORY_API_URL", url)
        .env(Role::Inventory, "MAX_ATTEMPTS", 1)
        .start()
        .await?;
    survives(&system, async || proxy.heal().await).await?;
    assert_eq!(api.summary().effects, ORDERS as u64);
    Ok(())
}

#[tokio::test]
async fn an_open_circuit_is_seen_and_the_worker_stays_ready() -> Result<()> {
    let system = impatient().inventory_api(Options { mode: Mode::Down, ..Options::default() }).start().await?;
    let worker = system.process(Role::Inventory)?;
    orders::place(&system, ORDERS, &Order::healthy()).await?;
    let reason = |body: &Value| body["components"]["consumer"]["reason"].as_str().unwrap_or_default().to_owned();
    let seen = worker.wait_for_readiness("the reason", |seen| reason(&seen.body).starts_with("circuit ")).await?;
    assert_eq!((seen.status, &seen.body["status"]), (200, &Value::from("ready")));
    worker
        .wait_for_log("that it opened", |line: &Line| {
            line.field("message").is_some_and(|message| message.contains("circuit open"))
        })
        .await?;
    system.inventory_api.set_mode(Mode::Healthy);
    worker
        .wait_for_log("that it closed", |line: &Line| {
            line.field("message").is_some_and(|message| message.contains("circuit closed"))
        })
        .await?;
    worker.wait_for_readiness("no reason", |seen| reason(&seen.body).is_empty()).await?;
    Ok(())
}

#[tokio::test]
async fn a_poison_order_among_good_ones_ends_after_its_attempts() -> Result<()> {
    let system = System::builder().with_quick_retries().start().await?;
    system.inventory_api.set_rule("SKU-poison", Behaviour::Status(500));
    let good = orders::place(&system, ORDERS, &Order::healthy()).await?;
    let poison = system.place(&Order::of("SKU-poison")).await?;
    let order = system.wait_settled(&poison.order_id).await?;
    let delivery = &order.deliveries["inventory"];
    assert_eq!(delivery.reason, Some(Reason::AttemptsExhausted.into()));
    assert_eq!(delivery.attempts.len(), 3);
    assert_eq!(system.metrics(Role::Inventory).await?.sum("tandem_circuit_state", &INVENTORY), 0.0);
    orders::called_once(&system.inventory_api, &[])?;
    orders::settled(&system, &good).await.map(drop)
}

#[tokio::test]
async fn orders_that_wait_hold_up_no_others() -> Result<()> {
    // All places of calls would be taken, if waiting took any.
    let system = System::builder()
        .env(Role::Inventory, "CONCURRENCY", 2)
        .env(Role::Inventory, "BACKOFF_INITIAL", "200s")
        .env(Role::Inventory, "BACKOFF_MAX", "200s")
        .start()
        .await?;
    system.inventory_api.set_rule("SKU-sick", Behaviour::Status(503));
    let sick = orders::place(&system, 8, &Order::of("SKU-sick")).await?;
    let waits = |api: &FakeApi| sick.iter().all(|order_id| api.calls_about(order_id).len() == 1);
    system.inventory_api.wait_until("one call about each", PATIENCE, waits).await?;
    let healthy = orders::place(&system, 40, &Order::healthy()).await?;
    for order_id in &healthy {
        system.wait_for_delivery(order_id, "inventory", DeliveryStatus::Delivered).await?;
    }
    for order_id in &sick {
        assert_eq!(system.order(order_id).await?.deliveries["inventory"].status, DeliveryStatus::Pending);
    }
    Ok(())
}

#[tokio::test]
async fn an_api_that_asks_to_be_left_alone_is_not_called_until_then() -> Result<()> {
    let system =
        System::builder().inventory_api(Options { mode: Mode::Throttle(2), ..Options::default() }).start().await?;
    let first = orders::place(&system, 1, &Order::healthy()).await?;
    system.inventory_api.wait_for_calls(&first[0], 1).await?;
    let worker = system.process(Role::Inventory)?;
    worker
        .wait_for_log("the request", |line: &Line| {
            line.field("message").is_some_and(|message| message.contains("throttled"))
        })
        .await?;
    system.inventory_api.set_mode(Mode::Healthy);
    let rest = orders::place(&system, 20, &Order::healthy()).await?;
    orders::delivered_once(&system, &[first, rest].concat()).await?;
    let calls = system.inventory_api.calls();
    let pause = Duration::from_micros(calls[1].at - calls[0].at);
    assert!(pause >= Duration::from_secs(2), "called again after {pause:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_still_in_progress_is_waited_for() -> Result<()> {
    let system = impatient().with_quick_retries().start().await?;
    // No answer in time, then that it is being worked on, then the stored answer.
    system.inventory_api.set_rule("SKU-slow", Behaviour::InProgress);
    let placed = system.place(&Order::of("SKU-slow")).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::Delivered);
    let statuses: Vec<_> = order.deliveries["inventory"].attempts.iter().map(|attempt| attempt.status_code).collect();
    assert_eq!(statuses, [None, Some(409), Some(200)]);
    Ok(())
}

#[tokio::test]
async fn a_credential_that_is_refused_from_now_on_makes_no_dead_letters() -> Result<()> {
    let system = impatient().start().await?;
    let first = orders::place(&system, 1, &Order::healthy()).await?;
    orders::delivered_once(&system, &first).await?;
    system.inventory_api.set_mode(Mode::Status(401));
    survives(&system, async || {
        let worker = system.process(Role::Inventory)?;
        let refused = |line: &Line| line.field("reason").is_some_and(|reason| reason.contains("credential"));
        worker.wait_for_log("that the credential is refused", refused).await?;
        system.inventory_api.set_mode(Mode::Healthy);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_credential_that_was_never_accepted_is_a_rejection() -> Result<()> {
    let system = impatient().inventory_api(Options { mode: Mode::Status(403), ..Options::default() }).start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.deliveries["inventory"].reason, Some(Reason::Rejected.into()));
    assert_eq!(order.deliveries["inventory"].attempts.len(), 1);
    Ok(())
}
