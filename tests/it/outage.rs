//! The broker is unreachable, and comes back.

use std::ops::ControlFlow;

use anyhow::Result;
use api::OrderStatus;
use serde_json::json;
use tests::{
    order::Order,
    process::{Process, Readiness},
    proxy::Evidence,
    system::{Role, System},
    waiting::{self, PATIENCE},
};

use crate::{
    broker_proxy::{all_through, broker_proxy},
    orders,
};

#[tokio::test]
async fn orders_accepted_while_the_broker_is_down_are_delivered_later() -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    let system = all_through(System::builder(), &url).start().await?;
    let mut order_ids = orders::place(&system, 20, &Order::healthy()).await?;
    orders::delivered_once(&system, &order_ids).await?;
    system.producer()?.wait_for_metric("tandem_outbox_backlog", &[], |events| events == 0.0).await?;

    proxy.down().await?;
    let readiness = wait_for_down(system.producer()?, "relay").await?;
    assert_eq!((readiness.status, &readiness.body["status"]), (200, &json!("degraded")), "it accepts orders");
    for role in [Role::Inventory, Role::Fulfillment] {
        let readiness = wait_for_down(system.process(role)?, "consumer").await?;
        assert_eq!((readiness.status, &readiness.body["status"]), (503, &json!("not_ready")));
        assert_eq!(system.process(role)?.livez().await?, 200, "it is alive");
    }
    order_ids.extend(orders::place(&system, 50, &Order::healthy()).await?);
    let metrics = system.metrics(Role::Producer).await?;
    assert_eq!(metrics.sum("tandem_outbox_backlog", &[]), 50.0);
    assert!(metrics.sum("tandem_outbox_oldest_age_seconds", &[]) > 0.0);

    proxy.heal().await?;
    orders::delivered_once(&system, &order_ids).await?;
    assert!(proxy.evidence().cuts > 0);
    // The outage costs no attempt, and nothing that was settled is delivered again.
    assert_eq!((system.inventory_api.summary().calls, system.fulfillment_api.summary().calls), (70, 70));
    system.producer()?.wait_for_metric("tandem_outbox_backlog", &[], |events| events == 0.0).await?;
    system.producer()?.wait_for_readiness("ready", |seen| seen.body["status"] == "ready").await?;
    Ok(())
}

#[tokio::test]
async fn orders_are_accepted_even_if_the_broker_was_never_up() -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    proxy.refuse().await?;
    let system = all_through(System::builder(), &url).not_waiting_for_readiness().start().await?;
    let readiness = wait_for_down(system.producer()?, "relay").await?;
    assert_eq!((readiness.status, &readiness.body["status"]), (200, &json!("degraded")));
    let explained = |seen: &Readiness| {
        let reason = seen.body["components"].to_string();
        reason.contains(&proxy.address().to_string())
    };
    for role in [Role::Producer, Role::Inventory, Role::Fulfillment] {
        system.process(role)?.wait_for_readiness("explained by the broker's address", explained).await?;
    }
    assert_eq!(system.readyz(Role::Inventory).await?.status, 503);
    let order_ids = orders::place(&system, 20, &Order::healthy()).await?;
    assert_eq!(system.order(&order_ids[0]).await?.status, OrderStatus::Pending);

    proxy.heal().await?;
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn a_missing_confirm_times_out_and_the_event_is_published_again() -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    let system = System::builder().amqp_url(Role::Producer, &url).start().await?;
    proxy.black_hole().await?;
    let order_ids = orders::place(&system, 10, &Order::healthy()).await?;
    // The connection stays open, so the producer must notice by itself.
    wait_for_down(system.producer()?, "relay").await?;
    proxy.heal().await?;
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn repeatedly_cut_connections_lose_no_order_and_cost_no_second_call() -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    let through = System::builder().amqp_url(Role::Producer, &url).amqp_url(Role::Inventory, &url);
    let system = through.without_collector().start().await?;
    let order = Order::healthy();
    let mut order_ids = Vec::new();
    for _ in 0..5 {
        // Two connections of the producer and two of the worker: between sessions a cut would hit nothing.
        waiting::until("four connections", PATIENCE, async || match proxy.evidence() {
            Evidence { open: 4, .. } => ControlFlow::Break(()),
            other => ControlFlow::Continue(format!("{other:?}")),
        })
        .await?;
        let before = system.inventory_api.summary().calls;
        // During events, calls, reports and acknowledgements.
        let cut = async {
            system.inventory_api.wait_until("a call", PATIENCE, |api| api.summary().calls > before).await?;
            proxy.cut().await
        };
        let (placed, ()) = tokio::try_join!(orders::place(&system, 40, &order), cut)?;
        order_ids.extend(placed);
    }
    orders::delivered_once(&system, &order_ids).await?;
    assert_eq!(proxy.evidence().cuts, 5 * 4, "{:?}", proxy.evidence());
    assert_eq!((system.inventory_api.summary().calls, system.fulfillment_api.summary().calls), (200, 200));
    Ok(())
}

/// Waits until a component of the process is down, for another reason than that it is starting.
async fn wait_for_down(process: &Process, component: &str) -> Result<Readiness> {
    let down = |seen: &Readiness| {
        let component = &seen.body["components"][component];
        component["status"] == "down" && component["reason"].as_str().is_some_and(|reason| reason.len() > 10)
    };
    process.wait_for_readiness(&format!("without its {component}"), down).await
}
