//! RabbitMQ is killed, short of memory, or full.

use std::ops::ControlFlow;

use anyhow::Result;
use tests::{
    order::Order,
    process::Readiness,
    system::{Role, System},
    waiting::{PATIENCE, until},
};

use crate::{load::Load, orders, own_broker::OwnBroker};

#[tokio::test]
async fn a_broker_killed_under_load_loses_nothing() -> Result<()> {
    let Some(broker) = OwnBroker::take().await? else { return Ok(()) };
    let system = System::builder().broker(&broker.url()).start().await?;
    // RabbitMQ 3.10 stores the members of a new quorum queue a moment after its declaration. If it is killed before
    // that, the queue has no leader afterwards. A normal stop stores them.
    broker.restart().await?;
    let mut load = Load::start(&system, &Order::healthy()).await?;
    load.more(300).await?;
    broker.crash().await?;
    load.more(300).await?;
    let order_ids = load.stop().await?;
    broker.start_again().await?;
    orders::delivered_once(&system, &order_ids).await?;
    drop(system);
    broker.give_back();
    Ok(())
}

#[tokio::test]
async fn a_broker_short_of_memory_delays_reports_and_loses_nothing() -> Result<()> {
    let Some(broker) = OwnBroker::take().await? else { return Ok(()) };
    let mut system = System::builder().broker(&broker.url()).without(Role::Inventory).start().await?;
    let mut order_ids = orders::place(&system, 20, &Order::healthy()).await?;
    system.fulfillment_api.wait_for_effects(20).await?;
    let queue = system.names.inventory();
    system.queues().await?.wait_for_depth(&queue, "20 orders", |depth| depth.ready == 20).await?;

    broker.ctl(&["set_vm_memory_high_watermark", "0.000001"]).await?;
    // The broker blocks connections that publish, so a producer notices with the next orders.
    let mut load = Load::start(&system, &Order::healthy()).await?;
    let says_so = |seen: &Readiness| seen.body.to_string().contains("alarm");
    let readiness = system.producer()?.wait_for_readiness("degraded by the alarm", says_so).await?;
    assert_eq!((readiness.status, readiness.body["status"].as_str()), (200, Some("degraded")));
    load.more(30).await?;
    order_ids.extend(load.stop().await?);

    // Some may have got through before the alarm.
    let waiting = system.queues().await?.depth(&queue).await?.ready;

    // Deliveries go on, but their reports do not get through: the API is called, and nothing leaves the queue.
    let worker = system.start_process(Role::Inventory, &[])?;
    worker.wait_for_readiness("not ready by the alarm", |seen| seen.status == 503 && says_so(seen)).await?;
    system.inventory_api.wait_for_effects(20).await?;
    system.kill9(Role::Inventory).await?;
    system.queues().await?.wait_for_depth(&queue, "all orders again", |depth| depth.ready >= waiting).await?;

    system.start_process(Role::Inventory, &[])?;
    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]).await?;
    orders::delivered_once(&system, &order_ids).await?;
    system.producer()?.wait_for_readiness("ready", |seen| seen.body["status"] == "ready").await?;
    drop(system);
    broker.give_back();
    Ok(())
}

#[tokio::test]
async fn events_and_reports_that_a_full_queue_refuses_are_published_again() -> Result<()> {
    let Some(broker) = OwnBroker::take().await? else { return Ok(()) };
    let mut system = System::builder()
        .broker(&broker.url())
        .without_workers()
        // One report for each delivery.
        .env(Role::Inventory, "CONCURRENCY", 1)
        .start()
        .await?;
    let full = format!("^{}\\.(fulfillment|outcomes)$", system.names.exchange());
    broker.ctl(&["set_policy", "full", &full, r#"{"max-length": 3}"#, "--apply-to", "queues"]).await?;
    // The policy takes a while to take effect.
    let mut order_ids = Vec::new();
    let degraded = async || {
        match orders::place(&system, 5, &Order::of("inventory-slow-20ms")).await {
            Ok(more) => order_ids.extend(more),
            Err(fault) => return ControlFlow::Break(Err(fault)),
        }
        match system.readyz(Role::Producer).await {
            Ok(seen) if seen.body["status"] == "degraded" && seen.body.to_string().contains("full") => {
                ControlFlow::Break(Ok(()))
            }
            seen => ControlFlow::Continue(format!("{seen:?}")),
        }
    };
    until("the producer to be degraded by a full queue", PATIENCE, degraded).await??;
    let metrics = system.metrics(Role::Producer).await?;
    assert!(metrics.sum("tandem_events_refused_total", &[]) > 0.0);
    assert!(metrics.sum("tandem_outbox_backlog", &[]) > 0.0, "a refused event is not marked");

    system.start_ready(Role::Fulfillment).await?;
    system.fulfillment_api.wait_for_effects(order_ids.len() as u64).await?;

    // Without a ledger, reports fill their queue too.
    system.kill9(Role::Producer).await?;
    system.start_ready(Role::Inventory).await?;
    let refused = |line: &tests::log::Line| line.text.contains("refused a report");
    system.process(Role::Inventory)?.wait_for_log("a refused report", refused).await?;
    system.start_process(Role::Producer, &[])?;
    orders::delivered_once(&system, &order_ids).await?;
    system.producer()?.wait_for_metric("tandem_outbox_backlog", &[], |events| events == 0.0).await?;
    drop(system);
    broker.give_back();
    Ok(())
}
