//! Queues, exchanges and connections that disappear under a service.

use anyhow::Result;
use lapin::types::{AMQPValue, FieldTable};
use tests::{
    order::Order,
    system::{Role, System},
};

use crate::{broker_proxy::broker_proxy, orders};

#[tokio::test]
async fn a_worker_whose_queue_is_deleted_is_not_ready_until_it_is_back() -> Result<()> {
    let system = System::start().await?;
    let worker = system.process(Role::Inventory)?;
    let (queues, queue) = (system.queues().await?, system.names.inventory());
    let before = worker.log().mark();
    // Another queue in its place, so that the worker cannot declare its own before the test has looked. If the worker is
    // faster, once more.
    let mut classic = FieldTable::default();
    classic.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    loop {
        system.delete_queue(&queue).await?;
        if queues.declare_queue(&queue, classic.clone()).await.is_ok() {
            break;
        }
    }
    let ended = |line: &tests::log::Line| line.field("fault").is_some_and(|fault| fault.contains(&queue));
    worker.wait_for_log_after(before, "the end of the consumer", ended).await?;
    let blamed = |seen: &tests::process::Readiness| {
        seen.status == 503 && seen.body["components"]["consumer"]["reason"].to_string().contains("other properties")
    };
    let readiness = worker.wait_for_readiness("not ready, with the reason", blamed).await?;
    assert_eq!(readiness.body["status"], "not_ready");
    assert_eq!(worker.livez().await?, 200);
    worker.wait_for_metric("tandem_consumer_up", &[], |up| up == 0.0).await?;

    queues.delete_queue(&queue).await?;
    queues.wait_for_consumers(&queue, 1).await?;
    worker.ready().await?;
    worker.wait_for_metric("tandem_consumer_up", &[], |up| up == 1.0).await?;
    let order_ids = orders::place(&system, 10, &Order::healthy()).await?;
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn deleting_the_queue_of_reports_loses_no_outcome() -> Result<()> {
    let system = System::start().await?;
    let mut order_ids = Vec::new();
    for _ in 0..3 {
        system.delete_queue(&system.names.outcomes()).await?;
        order_ids.extend(orders::place(&system, 10, &Order::healthy()).await?);
        // Otherwise the next deletion could remove their reports.
        orders::delivered_once(&system, &order_ids).await?;
    }
    assert_eq!(system.inventory_api.summary().calls, 30, "a known outcome costs no second call");
    Ok(())
}

#[tokio::test]
async fn events_that_reach_no_queue_are_published_again() -> Result<()> {
    let system = System::start().await?;
    let queues = system.queues().await?;
    for queue in [system.names.inventory(), system.names.fulfillment()] {
        queues.unbind(&queue, system.names.exchange(), "").await?;
    }
    let order_ids = orders::place(&system, 50, &Order::healthy()).await?;
    orders::delivered_once(&system, &order_ids).await?;
    system.producer()?.wait_for_metric("tandem_events_returned_total", &[], |count| count > 0.0).await?;
    system.producer()?.wait_for_metric("tandem_outbox_backlog", &[], |events| events == 0.0).await
}

#[tokio::test]
async fn an_exchange_deleted_under_the_relay_is_declared_again() -> Result<()> {
    let system = System::start().await?;
    system.queues().await?.delete_exchange(system.names.exchange()).await?;
    let order_ids = orders::place(&system, 50, &Order::healthy()).await?;
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn a_worker_that_loses_its_connection_repeats_no_call() -> Result<()> {
    const ORDERS: usize = 20;
    let (proxy, url) = broker_proxy().await?;
    let system = System::builder().amqp_url(Role::Inventory, &url).start().await?;
    let order_ids = orders::place(&system, ORDERS, &Order::of("inventory-slow-2s")).await?;
    let all_run = |api: &tests::fake_api::FakeApi| api.summary().calls == ORDERS as u64;
    system.inventory_api.wait_until("all calls", tests::waiting::PATIENCE, all_run).await?;
    proxy.cut().await?;
    orders::delivered_once(&system, &order_ids).await?;
    assert!(proxy.evidence().cuts >= 1);
    assert_eq!(system.inventory_api.summary().calls, ORDERS as u64);
    // All are settled on the new connection.
    let idle = |depth: tests::queues::Depth| depth.ready == 0 && depth.consumers == 1;
    system.queues().await?.wait_for_depth(&system.names.inventory(), "nothing", idle).await.map(drop)
}
