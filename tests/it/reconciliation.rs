//! Deliveries that nothing would end any more.

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::{
    order::Order,
    queues::Depth,
    system::{Role, System, SystemBuilder},
};

use crate::{
    crowd,
    operator::{get, wait_for},
    scrape,
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

/// Waits for a sweep that was finished so many milliseconds after now.
async fn swept_after(system: &System, milliseconds: i64) -> Result<Value> {
    let wanted = Timestamp::now().as_millisecond() + milliseconds;
    let later = |seen: &Value| {
        let checked_at = seen["checked_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        checked_at.is_some_and(|at| at.as_millisecond() > wanted)
    };
    wait_for(system, PATH, "checked later", later).await
}

async fn deliveries_lost_from_a_queue_are_reported_and_a_backlog_is_not(store: &Store) -> Result<()> {
    let mut system = quick(store, "report").start().await?;
    let order_ids = crowd::place(&system, 10, &Order::healthy()).await?;
    let queue = system.names.inventory();
    let queues = system.queues().await?;
    queues.wait_for_depth(&queue, "all orders", |depth| depth.ready == 10).await?;
    // However long they wait for their worker, they are not lost.
    let seen = swept_after(&system, 6_000).await?;
    assert_eq!((&seen["overdue_total"], &seen["overdue"]), (&json!(0), &json!([])), "{seen}");

    assert_eq!(queues.purge(&queue).await?, 10);
    let seen = wait_for(&system, PATH, "found", |seen| seen["overdue_total"] == 10).await?;
    let overdue = seen["overdue"].as_array().context("no list")?;
    let mut found: Vec<_> = overdue.iter().filter_map(|item| item["order_id"].as_str()).collect();
    let mut wanted: Vec<_> = order_ids.iter().map(String::as_str).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    assert!(overdue.iter().all(|item| item["destination"] == "inventory" && item["seen"] == "published"), "{seen}");
    let labels = [("destination", "inventory")];
    scrape::wait_for(system.producer()?, "tandem_reconciliation_overdue", &labels, |count| count == 10.0).await?;
    let named = system.producer()?.log().lines().iter().filter(|line| line.says(OVERDUE)).count();
    assert_eq!(named, 10, "one line for each");

    // Named, and left alone.
    system.start_ready(Role::Inventory).await?;
    swept_after(&system, 1_000).await?;
    assert_eq!(system.inventory_api.summary().calls, 0);
    let (_, seen) = get(&system, PATH).await?;
    assert_eq!(seen["overdue_total"], 10, "{seen}");
    Ok(())
}

async fn deliveries_lost_from_a_queue_are_published_again_once(store: &Store) -> Result<()> {
    let mut system = quick(store, "republish").start().await?;
    let order_ids = crowd::place(&system, 10, &Order::healthy()).await?;
    let queue = system.names.inventory();
    let all = |depth: Depth| depth.ready == 10;
    let queues = system.queues().await?;
    queues.wait_for_depth(&queue, "all orders", all).await?;
    assert_eq!(queues.purge(&queue).await?, 10);
    queues.wait_for_depth(&queue, "all orders again", all).await?;
    system.start_ready(Role::Inventory).await?;
    crowd::delivered_once(&system, &order_ids).await?;
    assert_eq!(system.fulfillment_api.summary().calls, 10, "only the one destination was told again");
    let seen = wait_for(&system, PATH, "settled", |seen| seen["overdue_total"] == 0).await?;
    assert_eq!(seen["overdue"], json!([]), "{seen}");
    Ok(())
}

async fn a_lost_redriven_dead_letter_is_reported_and_sent_again(store: &Store) -> Result<()> {
    let mut system = quick(store, "republish").start().await?;
    system.start_ready(Role::Inventory).await?;
    let order_ids = crate::operator::refused(&system, 3, "SKU-1", 422).await?;
    crate::operator::wait_for_matched(&system, &json!({}), 3).await?;
    crate::operator::mend(&system, "SKU-1");
    system.kill9(Role::Inventory).await?;
    let queue = system.names.inventory();
    system.queues().await?.wait_for_consumers(&queue, 0).await?;
    let path = crate::operator::begin(&system, &json!({"filter": {}})).await?;
    wait_for(&system, &path, "sent", |job| job["sent"] == 3).await?;
    assert_eq!(system.queues().await?.purge(&queue).await?, 3);
    system.queues().await?.wait_for_depth(&queue, "all again", |depth| depth.ready == 3).await?;
    system.start_ready(Role::Inventory).await?;
    wait_for(&system, &path, "completed", |job| job["delivered"] == 3).await?;
    crowd::delivered_once(&system, &order_ids).await
}
