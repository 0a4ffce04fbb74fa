//! What `/metrics` shows.

use anyhow::Result;
use tests::{
    order::Order,
    process::Process,
    system::{Role, System},
};

use crate::orders;

/// A name, labels, and the sum of the samples that have them.
type Sample<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// Waits until each of these is as wanted: some are counted a moment after an order is shown as settled.
async fn wait_for(process: &Process, wanted: &[Sample<'_>]) -> Result<()> {
    for (name, labels, value) in wanted {
        process.wait_for_metric(name, labels, |seen| seen == *value).await?;
    }
    Ok(())
}

#[tokio::test]
async fn metrics_count_every_order_from_acceptance_to_settlement() -> Result<()> {
    let system = System::builder().with_quick_retries().start().await?;
    let mut order_ids = Vec::new();
    for product in ["SKU-1", "SKU-2", "fulfillment-fail-1", "inventory-status-422", "fulfillment-status-503"] {
        order_ids.extend(orders::place(&system, 1, &Order::of(product)).await?);
    }
    orders::settled(&system, &order_ids).await?;
    assert_eq!(system.post(b"{}", &[]).await?.status, 422);
    system.producer()?.wait_for_metric("tandem_outbox_backlog", &[], |events| events == 0.0).await?;

    wait_for(
        system.producer()?,
        &[
            ("tandem_orders_total", &[("result", "accepted")], 5.0),
            ("tandem_orders_total", &[("result", "busy")], 0.0),
            ("tandem_orders_total", &[("result", "replayed")], 0.0),
            ("tandem_events_published_total", &[], 5.0),
            ("tandem_events_returned_total", &[], 0.0),
            ("tandem_events_refused_total", &[], 0.0),
            ("tandem_confirm_seconds_count", &[], 5.0),
            ("tandem_outbox_oldest_age_seconds", &[], 0.0),
            ("tandem_ledger_outcomes_total", &[("destination", "inventory"), ("status", "delivered")], 4.0),
            ("tandem_ledger_outcomes_total", &[("destination", "inventory"), ("reason", "rejected")], 1.0),
            ("tandem_ledger_outcomes_total", &[("destination", "fulfillment"), ("reason", "attempts_exhausted")], 1.0),
        ],
    )
    .await?;
    let inventory = ("destination", "inventory");
    wait_for(
        system.process(Role::Inventory)?,
        &[
            ("tandem_attempts_total", &[inventory, ("outcome", "success")], 4.0),
            ("tandem_attempts_total", &[inventory, ("outcome", "transient")], 0.0),
            ("tandem_attempts_total", &[inventory, ("outcome", "permanent")], 1.0),
            ("tandem_deliveries_total", &[inventory, ("status", "delivered")], 4.0),
            ("tandem_deliveries_total", &[inventory, ("status", "dead_lettered")], 1.0),
            ("tandem_dead_letters_total", &[inventory, ("reason", "rejected")], 1.0),
            ("tandem_dead_letters_total", &[inventory, ("reason", "unreadable")], 0.0),
            ("tandem_deliveries_in_flight", &[inventory], 0.0),
            ("tandem_end_to_end_seconds_count", &[inventory], 5.0),
            ("tandem_attempt_duration_seconds_count", &[inventory], 5.0),
            ("tandem_consumer_up", &[inventory], 1.0),
        ],
    )
    .await?;
    let fulfillment = ("destination", "fulfillment");
    wait_for(
        system.process(Role::Fulfillment)?,
        &[
            ("tandem_attempts_total", &[fulfillment, ("outcome", "success")], 4.0),
            ("tandem_attempts_total", &[fulfillment, ("outcome", "transient")], 6.0),
            ("tandem_deliveries_total", &[fulfillment, ("status", "delivered")], 4.0),
            ("tandem_dead_letters_total", &[fulfillment, ("reason", "attempts_exhausted")], 1.0),
        ],
    )
    .await
}

#[tokio::test]
async fn deliveries_in_flight_are_a_gauge() -> Result<()> {
    let system = System::start().await?;
    orders::place(&system, 3, &Order::of("inventory-hang")).await?;
    system.process(Role::Inventory)?.wait_for_metric("tandem_deliveries_in_flight", &[], |count| count == 3.0).await
}
