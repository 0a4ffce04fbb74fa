//! How processes shut down.

use anyhow::{Context, Result};
use api::OrderStatus;
use serde_json::json;
use tests::{
    leash::Signal,
    log::Line,
    order::Order,
    process::{Process, Readiness},
    system::{Placed, Role, System},
};

use crate::{
    broker_proxy::{all_through, broker_proxy},
    exit::Exit,
    load::Load,
    orders,
};

#[tokio::test]
async fn a_worker_terminated_under_load_loses_nothing_and_repeats_no_call() -> Result<()> {
    const ORDERS: usize = 400;
    let mut system = System::start().await?;
    let order_ids = orders::place(&system, ORDERS, &Order::of("slow-100ms")).await?;
    for role in [Role::Inventory, Role::Fulfillment] {
        let exit = Exit::of(&system.terminate(role).await?).await?;
        assert_eq!((exit.code, exit.says("stopped")), (Some(0), true), "{}", exit.text());
        system.start_ready(role).await?;
    }
    orders::delivered_once(&system, &order_ids).await?;
    assert_eq!((system.inventory_api.summary().calls, system.fulfillment_api.summary().calls), (400, 400));
    Ok(())
}

#[tokio::test]
async fn a_producer_terminated_under_load_loses_no_accepted_order() -> Result<()> {
    let mut system = System::start().await?;
    let mut load = Load::start(&system, &Order::healthy()).await?;
    load.more(200).await?;
    let ended = system.terminate(Role::Producer).await?;
    assert_eq!(ended.exit_status().and_then(|status| status.code()), Some(0));
    let order_ids = load.stop().await?;
    system.start_ready(Role::Producer).await?;
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn a_draining_worker_says_so_and_a_second_signal_ends_it_at_once() -> Result<()> {
    let mut system = System::builder().env(Role::Inventory, "REQUEST_TIMEOUT", "2m").start().await?;
    let placed = system.place(&Order::of("inventory-hang-1")).await?;
    system.inventory_api.wait_for_calls(&placed.order_id, 1).await?;
    let worker = system.take(Role::Inventory)?;
    worker.terminate()?;
    worker.wait_for_log("draining", |line| line.field("message").is_some_and(|text| text.contains("draining"))).await?;
    let draining = |seen: &Readiness| seen.status == 503 && seen.body.to_string().contains("draining");
    worker.wait_for_readiness("draining", draining).await?;
    worker.signal(Signal::Interrupt)?;
    let exit = Exit::of(&worker).await?;
    assert_eq!((exit.code, exit.says("stopped")), (Some(143), false), "{}", exit.text());

    called_again_under_the_same_key(&mut system, &placed.order_id).await
}

#[tokio::test]
async fn a_delivery_backing_off_at_shutdown_goes_on_at_once_with_another_worker() -> Result<()> {
    let mut system = System::builder()
        // The worker waits for neither.
        .env(Role::Inventory, "SHUTDOWN_GRACE", "10m")
        .env(Role::Inventory, "BACKOFF_INITIAL", "20s")
        .env(Role::Inventory, "BACKOFF_MAX", "20s")
        .start()
        .await?;
    let placed = system.place(&Order::of("inventory-fail-1")).await?;
    let worker = system.take(Role::Inventory)?;
    let backing_off =
        |line: &Line| line.field("order_id") == Some(&placed.order_id) && line.text.contains("attempt failed, waiting");
    worker.wait_for_log("a back-off", backing_off).await?;
    worker.terminate()?;
    let exit = Exit::of(&worker).await?;
    assert_eq!((exit.code, exit.says("stopped")), (Some(0), true), "{}", exit.text());

    called_again_under_the_same_key(&mut system, &placed.order_id).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.deliveries["inventory"].attempts.len(), 2, "the attempt of the other worker is kept: {order:?}");
    Ok(())
}

#[tokio::test]
async fn a_call_beyond_the_grace_period_is_left_to_another_worker() -> Result<()> {
    let mut system = System::builder()
        .env(Role::Inventory, "SHUTDOWN_GRACE", "500ms")
        .env(Role::Inventory, "REQUEST_TIMEOUT", "2m")
        .start()
        .await?;
    let placed = system.place(&Order::of("inventory-hang-1")).await?;
    system.inventory_api.wait_for_calls(&placed.order_id, 1).await?;
    let worker = system.take(Role::Inventory)?;
    worker.terminate()?;
    exits_and_reports(&worker, &placed, "an attempt was running").await?;
    called_again_under_the_same_key(&mut system, &placed.order_id).await
}

#[tokio::test]
async fn a_delivery_not_reported_at_shutdown_is_left_to_another_worker() -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    let builder = System::builder().amqp_url(Role::Inventory, &url);
    let mut system = builder.env(Role::Inventory, "SHUTDOWN_GRACE", "8s").start().await?;
    let placed = system.place(&Order::of("inventory-slow-3s")).await?;
    system.inventory_api.wait_for_calls(&placed.order_id, 1).await?;
    proxy.black_hole().await?;
    let worker = system.take(Role::Inventory)?;
    worker.terminate()?;
    exits_and_reports(&worker, &placed, "ended, not settled").await?;
    // Without the cut, the data that was held back would arrive.
    proxy.cut().await?;
    proxy.heal().await?;
    called_again_under_the_same_key(&mut system, &placed.order_id).await
}

#[tokio::test]
async fn every_process_exits_normally_even_without_a_broker() -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    proxy.refuse().await?;
    let mut system = all_through(System::builder(), &url).not_waiting_for_readiness().start().await?;
    orders::place(&system, 5, &Order::healthy()).await?;
    for role in [Role::Producer, Role::Inventory, Role::Fulfillment] {
        let ended = system.terminate(role).await?;
        assert_eq!(ended.exit_status().and_then(|status| status.code()), Some(0), "{}", ended.name());
    }
    Ok(())
}

/// Waits for the exit of a worker that leaves the delivery of this order, and reports its state.
async fn exits_and_reports(worker: &Process, placed: &Placed, state: &str) -> Result<()> {
    let exit = Exit::of(worker).await?;
    assert_eq!(exit.code, Some(0), "{}", exit.text());
    let found = |message: &str| {
        let of = |line: &&Line| line.field("message").is_some_and(|text| text.contains(message));
        exit.lines.iter().find(of).with_context(|| format!("no line about what is left:\n{}", exit.text()))
    };
    let all = found("left unfinished; they are delivered again")?;
    assert_eq!(all.json.as_ref().map(|line| line["deliveries"].clone()), Some(json!(1)), "{}", all.text);
    let one = found("left unfinished; it is delivered again")?;
    let named = ["order_id", "correlation_id", "state"].map(|field| one.field(field));
    assert_eq!(named, [Some(&*placed.order_id), Some(&*placed.correlation_id), Some(state)], "{}", one.text);
    assert_eq!((all.field("level"), one.field("level")), (Some("WARN"), Some("WARN")));
    Ok(())
}

/// Starts another worker, and checks that it delivers the order after one earlier call.
async fn called_again_under_the_same_key(system: &mut System, order_id: &str) -> Result<()> {
    system.start_ready(Role::Inventory).await?;
    let order = system.wait_settled(order_id).await?;
    assert_eq!(order.status, OrderStatus::Delivered);
    let calls = system.inventory_api.calls_about(order_id);
    assert_eq!(calls.len(), 2, "{calls:?}");
    orders::called_once(&system.inventory_api, &[order_id.to_owned()])
}
