//! Deliveries that are stuck: pending, with nothing left that could end them.

use anyhow::Result;
use api::{Reconciliation, Seen};
use jiff::Timestamp;
use serde_json::json;
use tests::{
    order::Order,
    queues::Depth,
    system::{Role, System, SystemBuilder},
};

use crate::{
    operator::{self, wait_for},
    orders,
    stores::{Store, over_both_stores},
};

over_both_stores!(
    deliveries_lost_from_a_queue_are_reported_and_a_backlog_is_not,
    deliveries_lost_from_a_queue_are_published_again_once,
    a_lost_redriven_dead_letter_is_reported_and_sent_again,
);

const PATH: &str = "/v1/reconciliation";
const OVERDUE: &str = "overdue: the delivery is pending and nothing in the system will end it";

fn quick(store: &Store, mode: &str) -> SystemBuilder {
    store
        .builder()
        .without(Role::Inventory)
        .env(Role::Producer, "RECONCILE", mode)
        .env(Role::Producer, "RECONCILE_INTERVAL", "300ms")
        .env(Role::Producer, "RECONCILE_AFTER", "4s")
}

/// Waits until a sweep has found this many stuck deliveries.
async fn overdue(system: &System, count: u64) -> Result<Reconciliation> {
    system.wait_for(PATH, "checked", |seen: &Reconciliation| seen.overdue_total == count).await
}

/// Waits for a sweep that ends this many milliseconds after now.
async fn swept_after(system: &System, milliseconds: i64) -> Result<Reconciliation> {
    let wanted = Timestamp::now().as_millisecond() + milliseconds;
    let later = |seen: &Reconciliation| seen.checked_at.is_some_and(|at| at.as_millisecond() > wanted);
    system.wait_for(PATH, "checked later", later).await
}

async fn deliveries_lost_from_a_queue_are_reported_and_a_backlog_is_not(store: &Store) -> Result<()> {
    let mut system = quick(store, "report").start().await?;
    let order_ids = orders::place(&system, 10, &Order::healthy()).await?;
    let queue = system.names.inventory();
    let queues = system.queues().await?;
    queues.wait_for_depth(&queue, "all orders", |depth| depth.ready == 10).await?;
    // However long they wait for their worker, they are not lost.
    let seen = swept_after(&system, 6_000).await?;
    assert_eq!((seen.overdue_total, &*seen.overdue), (0, &[][..]));

    assert_eq!(queues.purge(&queue).await?, 10);
    let seen = overdue(&system, 10).await?;
    let mut found: Vec<_> = seen.overdue.iter().filter_map(|item| item.order_id.clone()).collect();
    let mut wanted = order_ids.clone();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    assert!(seen.overdue.iter().all(|it| it.destination == "inventory" && it.seen == Seen::Published), "{seen:?}");
    let labels = [("destination", "inventory")];
    system.producer()?.wait_for_metric("tandem_reconciliation_overdue", &labels, |count| count == 10.0).await?;
    let reported = system.producer()?.log().lines().iter().filter(|line| line.says(OVERDUE)).count();
    assert_eq!(reported, 10, "one line for each delivery");

    // Reported, and nothing more.
    system.start_ready(Role::Inventory).await?;
    let seen = swept_after(&system, 1_000).await?;
    assert_eq!((seen.overdue_total, system.inventory_api.summary().calls), (10, 0));
    Ok(())
}

async fn deliveries_lost_from_a_queue_are_published_again_once(store: &Store) -> Result<()> {
    let mut system = quick(store, "republish").start().await?;
    let order_ids = orders::place(&system, 10, &Order::healthy()).await?;
    let queue = system.names.inventory();
    let all = |depth: Depth| depth.ready == 10;
    let queues = system.queues().await?;
    queues.wait_for_depth(&queue, "all orders", all).await?;
    assert_eq!(queues.purge(&queue).await?, 10);
    queues.wait_for_depth(&queue, "all orders again", all).await?;
    system.start_ready(Role::Inventory).await?;
    orders::delivered_once(&system, &order_ids).await?;
    assert_eq!(system.fulfillment_api.summary().calls, 10, "only one destination gets the events again");
    assert_eq!(overdue(&system, 0).await?.overdue, []);
    Ok(())
}

async fn a_lost_redriven_dead_letter_is_reported_and_sent_again(store: &Store) -> Result<()> {
    let mut system = quick(store, "republish").start().await?;
    system.start_ready(Role::Inventory).await?;
    let order_ids = operator::refused(&system, 3, "SKU-1", 422).await?;
    operator::wait_for_matched(&system, &json!({}), 3).await?;
    operator::accept(&system, "SKU-1");
    system.kill9(Role::Inventory).await?;
    let queue = system.names.inventory();
    system.queues().await?.wait_for_consumers(&queue, 0).await?;
    let path = operator::start(&system, &json!({"filter": {}})).await?;
    wait_for(&system, &path, "sent", |redrive| redrive.sent == 3).await?;
    assert_eq!(system.queues().await?.purge(&queue).await?, 3);
    system.queues().await?.wait_for_depth(&queue, "all again", |depth| depth.ready == 3).await?;
    system.start_ready(Role::Inventory).await?;
    wait_for(&system, &path, "completed", |redrive| redrive.delivered == 3).await?;
    orders::delivered_once(&system, &order_ids).await
}
