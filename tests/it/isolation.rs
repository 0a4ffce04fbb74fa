//! A fault at one destination does not affect the others.

use anyhow::Result;
use api::{DeliveryStatus, OrderStatus};
use tests::{
    fake_api::{FakeApi, Mode, Options},
    order::Order,
    queues::Depth,
    system::{Role, System},
    waiting::PATIENCE,
};

use crate::orders;

#[tokio::test]
async fn a_hanging_api_does_not_hold_up_the_other_and_catches_up_later() -> Result<()> {
    // More than the worker of the failing API holds, so that the rest waits in its queue.
    const ORDERS: usize = 200;
    let system = System::builder()
        .with_quick_retries()
        .env(Role::Inventory, "MAX_ATTEMPTS", 100)
        .env(Role::Inventory, "REQUEST_TIMEOUT", "4s")
        .inventory_api(Options { mode: Mode::Hang, ..Options::default() })
        .start()
        .await?;
    let order_ids = orders::place(&system, ORDERS, &Order::healthy()).await?;
    system.fulfillment_api.wait_for_effects(ORDERS as u64).await?;
    for order_id in &order_ids {
        let order = system.wait_for_delivery(order_id, "fulfillment", DeliveryStatus::Delivered).await?;
        assert_eq!(order.deliveries["inventory"].status, DeliveryStatus::Pending);
    }
    assert_eq!(system.inventory_api.summary().effects, 0);
    assert!(system.inventory_api.summary().calls > 0);

    system.inventory_api.set_mode(Mode::Healthy);
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn a_stopped_worker_does_not_hold_up_the_other_and_catches_up_later() -> Result<()> {
    let mut system = System::builder().without(Role::Fulfillment).start().await?;
    let order_ids = orders::place(&system, 50, &Order::healthy()).await?;
    system.inventory_api.wait_for_effects(50).await?;
    let all_wait = |depth: Depth| (depth.ready, depth.consumers) == (50, 0);
    system.queues().await?.wait_for_depth(&system.names.fulfillment(), "all events", all_wait).await?;
    system.start_ready(Role::Fulfillment).await?;
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn two_workers_of_one_destination_share_the_queue() -> Result<()> {
    const ORDERS: usize = 100;
    let mut system = System::start().await?;
    system.start_process(Role::Inventory, &[])?;
    for worker in system.processes(Role::Inventory) {
        worker.ready().await?;
    }
    system.queues().await?.wait_for_consumers(&system.names.inventory(), 2).await?;
    let order_ids = orders::place(&system, ORDERS, &Order::healthy()).await?;
    orders::delivered_once(&system, &order_ids).await?;
    assert_eq!(system.inventory_api.summary().calls, ORDERS as u64, "no order goes to both");
    let mut delivered = Vec::new();
    for worker in system.processes(Role::Inventory) {
        delivered.push(worker.metrics().await?.sum("tandem_deliveries_total", &[("status", "delivered")]));
    }
    assert!(delivered.iter().all(|count| *count > 0.0), "{delivered:?}");
    assert_eq!(delivered.iter().sum::<f64>(), ORDERS as f64, "{delivered:?}");
    Ok(())
}

#[tokio::test]
async fn a_worker_calls_up_to_its_concurrency_and_leaves_the_rest_queued() -> Result<()> {
    let system = System::builder()
        .env(Role::Inventory, "CONCURRENCY", 8)
        .with_patient_worker(Role::Inventory)
        .inventory_api(Options { mode: Mode::Hang, ..Options::default() })
        .start()
        .await?;
    orders::place(&system, 30, &Order::healthy()).await?;
    let labels = [("destination", "inventory")];
    let worker = system.process(Role::Inventory)?;
    worker.wait_for_metric("tandem_deliveries_in_flight", &labels, |count| count == 8.0).await?;
    let eight = |api: &FakeApi| api.summary().calls >= 8;
    system.inventory_api.wait_until("8 calls", PATIENCE, eight).await?;
    // Another 8 are prefetched.
    system.queues().await?.wait_for_depth(&system.names.inventory(), "the rest", |depth| depth.ready == 14).await?;
    system.fulfillment_api.wait_for_effects(30).await?;
    assert_eq!(system.inventory_api.summary().calls, 8);
    Ok(())
}

#[tokio::test]
async fn a_new_destination_has_its_queue_before_it_has_a_worker() -> Result<()> {
    let system = System::builder().env(Role::Producer, "DESTINATIONS", "inventory,fulfillment,billing").start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let order = system.wait_for_delivery(&placed.order_id, "fulfillment", DeliveryStatus::Delivered).await?;
    assert_eq!(order.status, OrderStatus::Pending);
    assert_eq!(order.deliveries["billing"].status, DeliveryStatus::Pending);
    let queues = system.queues().await?;
    queues.wait_for_depth(&system.names.queue("billing"), "the event", |depth| depth.ready == 1).await?;
    assert!(queues.exists(&system.names.dead_letters("billing")).await?);
    Ok(())
}
