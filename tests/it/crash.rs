//! Processes that are killed.

use std::{ops::ControlFlow, time::Duration};

use anyhow::Result;
use api::OrderStatus;
use tests::{
    fake_api::{FakeApi, Mode, Options},
    order::Order,
    queues::Depth,
    system::{Role, System},
    waiting::{PATIENCE, until},
};

use crate::{
    load::Load,
    orders,
    stores::{Store, over_both_stores},
};

over_both_stores!(
    a_producer_killed_under_load_loses_no_accepted_order,
    everything_killed_at_once_loses_no_accepted_order,
    outcomes_reported_while_the_producer_is_down_reach_the_ledger,
);

async fn a_producer_killed_under_load_loses_no_accepted_order(store: &Store) -> Result<()> {
    let mut system = store.builder().start().await?;
    let mut load = Load::start(&system, &Order::healthy()).await?;
    load.more(300).await?;
    system.kill9(Role::Producer).await?;
    let order_ids = load.stop().await?;
    system.start_ready(Role::Producer).await?;
    orders::delivered_once(&system, &order_ids).await
}

async fn everything_killed_at_once_loses_no_accepted_order(store: &Store) -> Result<()> {
    let slow = || Options { mode: Mode::Slow(Duration::from_millis(20)), ..Options::default() };
    let mut system = store.builder().inventory_api(slow()).fulfillment_api(slow()).start().await?;
    let mut load = Load::start(&system, &Order::healthy()).await?;
    load.more(300).await?;
    let roles = [Role::Producer, Role::Inventory, Role::Fulfillment];
    let processes = roles.iter().map(|role| system.take(*role)).collect::<Result<Vec<_>>>()?;
    for killed in futures_util::future::join_all(processes.iter().map(|process| process.kill9())).await {
        killed?;
    }
    let order_ids = load.stop().await?;
    for role in roles {
        system.start_ready(role).await?;
    }
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn after_a_worker_is_killed_during_a_call_another_uses_the_same_key() -> Result<()> {
    let mut system = System::builder().env(Role::Inventory, "REQUEST_TIMEOUT", "2m").start().await?;
    let placed = system.place(&Order::of("inventory-hang-1")).await?;
    system.inventory_api.wait_for_calls(&placed.order_id, 1).await?;
    system.replace(Role::Inventory).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::Delivered);
    let calls = system.inventory_api.calls_about(&placed.order_id);
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].idempotency_key, calls[1].idempotency_key);
    orders::called_once(&system.inventory_api, &[placed.order_id])?;
    system.process(Role::Inventory)?.wait_for_metric("tandem_redelivered_total", &[], |count| count >= 1.0).await
}

#[tokio::test]
async fn workers_killed_repeatedly_under_load_lose_nothing() -> Result<()> {
    let mut system = System::start().await?;
    let mut load = Load::start(&system, &Order::healthy()).await?;
    for _ in 0..3 {
        load.more(100).await?;
        system.replace(Role::Inventory).await?;
        system.replace(Role::Fulfillment).await?;
    }
    let order_ids = load.stop().await?;
    orders::delivered_once(&system, &order_ids).await
}

async fn outcomes_reported_while_the_producer_is_down_reach_the_ledger(store: &Store) -> Result<()> {
    let mut system = store.builder().without_workers().start().await?;
    let order_ids = orders::place(&system, 20, &Order::healthy()).await?;
    let (inventory, fulfillment, outcomes) =
        (system.names.inventory(), system.names.fulfillment(), system.names.outcomes());
    for queue in [&inventory, &fulfillment] {
        let all = |depth: Depth| depth.ready == 20;
        system.queues().await?.wait_for_depth(queue, "all orders", all).await?;
    }
    system.kill9(Role::Producer).await?;
    system.start_ready(Role::Inventory).await?;
    system.start_ready(Role::Fulfillment).await?;
    system.inventory_api.wait_for_effects(20).await?;
    system.fulfillment_api.wait_for_effects(20).await?;
    system.queues().await?.wait_for_depth(&outcomes, "reports", |depth| depth.ready > 0).await?;

    system.start_ready(Role::Producer).await?;
    orders::delivered_once(&system, &order_ids).await?;
    assert_eq!(system.inventory_api.summary().calls, 20);
    system.queues().await?.wait_for_depth(&outcomes, "no report", |depth| depth.ready == 0).await.map(drop)
}

#[tokio::test]
async fn a_worker_that_thaws_after_losing_its_deliveries_does_no_harm() -> Result<()> {
    let mut system = System::builder().env(Role::Inventory, "REQUEST_TIMEOUT", "1m").start().await?;
    let order_ids = orders::place(&system, 10, &Order::of("inventory-hang-1")).await?;
    let all_run = |api: &FakeApi| api.summary().calls == 10;
    system.inventory_api.wait_until("all calls", PATIENCE, all_run).await?;
    let frozen = system.take(Role::Inventory)?;
    frozen.stop()?;
    let queue = system.names.inventory();
    let queues = system.queues().await?;
    let back = async || match queues.depth(&queue).await {
        Ok(depth) if depth.ready == 10 && depth.consumers == 0 => ControlFlow::Break(()),
        seen => ControlFlow::Continue(format!("{seen:?}")),
    };
    // The broker closes its connection after two missed heartbeats of 10 s.
    until("the deliveries to be back in the queue", PATIENCE, back).await?;
    system.start_ready(Role::Inventory).await?;
    orders::delivered_once(&system, &order_ids).await?;

    let before = frozen.log().mark();
    frozen.cont()?;
    frozen.wait_for_log_after(before, "consuming again", |line| line.says("consuming")).await?;
    frozen.ready().await?;
    // From here on both share the work, and nothing is settled twice.
    let more = orders::place(&system, 20, &Order::healthy()).await?;
    orders::delivered_once(&system, &[order_ids, more].concat()).await?;
    frozen.terminate()?;
    assert_eq!(frozen.wait_exit().await?.code(), Some(0));
    let queues = system.queues().await?;
    queues.wait_for_depth(&queue, "nothing", |depth| depth.ready == 0 && depth.consumers == 1).await.map(drop)
}
