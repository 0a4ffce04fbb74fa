//! The broker away, and back.

use std::ops::ControlFlow;

use anyhow::Result;
use serde_json::json;
use tests::{
    order::Order,
    process::{Process, Readiness},
    proxy::Evidence,
    system::{Role, System},
    waiting::{self, PATIENCE},
};

use crate::{crowd, link::link, scrape};

#[tokio::test]
async fn orders_accepted_while_the_broker_is_down_are_delivered_later() -> Result<()> {
    let (proxy, url) = link().await?;
    let roles = [Role::Producer, Role::Inventory, Role::Fulfillment];
    let system = roles.iter().fold(System::builder(), |builder, role| builder.amqp_url(*role, &url)).start().await?;
    let mut order_ids = crowd::place(&system, 20, &Order::healthy()).await?;
    crowd::delivered_once(&system, &order_ids).await?;
    scrape::wait_for(system.producer()?, "tandem_outbox_backlog", &[], |events| events == 0.0).await?;

    proxy.down().await?;
    let readiness = wait_for_down(system.producer()?, "relay").await?;
    assert_eq!((readiness.status, &readiness.body["status"]), (200, &json!("degraded")), "it takes orders");
    for role in [Role::Inventory, Role::Fulfillment] {
        let readiness = wait_for_down(system.process(role)?, "consumer").await?;
        assert_eq!((readiness.status, &readiness.body["status"]), (503, &json!("not_ready")));
        assert_eq!(system.process(role)?.livez().await?, 200, "it is alive all the same");
    }
    order_ids.extend(crowd::place(&system, 50, &Order::healthy()).await?);
    let metrics = system.metrics(Role::Producer).await?;
    assert_eq!(metrics.sum("tandem_outbox_backlog", &[]), 50.0);
    assert!(metrics.sum("tandem_outbox_oldest_age_seconds", &[]) > 0.0);

    proxy.heal().await?;
    crowd::delivered_once(&system, &order_ids).await?;
    assert!(proxy.evidence().cuts > 0);
    // The outage is not the orders' fault, and nothing that was settled came back.
    assert_eq!((system.inventory_api.summary().calls, system.fulfillment_api.summary().calls), (70, 70));
    scrape::wait_for(system.producer()?, "tandem_outbox_backlog", &[], |events| events == 0.0).await?;
    system.producer()?.wait_for_readiness("ready", |seen| seen.body["status"] == "ready").await?;
    Ok(())
}

#[tokio::test]
async fn orders_are_accepted_even_if_the_broker_was_never_up() -> Result<()> {
    let (proxy, url) = link().await?;
    proxy.refuse().await?;
    let roles = [Role::Producer, Role::Inventory, Role::Fulfillment];
    let builder = roles.iter().fold(System::builder(), |builder, role| builder.amqp_url(*role, &url));
    let system = builder.not_waiting_for_readiness().start().await?;
    let readiness = wait_for_down(system.producer()?, "relay").await?;
    assert_eq!((readiness.status, &readiness.body["status"]), (200, &json!("degraded")));
    let explained = |seen: &Readiness| {
        let reason = seen.body["components"].to_string();
        reason.contains(&proxy.address().to_string())
    };
    for role in roles {
        system.process(role)?.wait_for_readiness("explained by the broker's address", explained).await?;
    }
    assert_eq!(system.readyz(Role::Inventory).await?.status, 503);
    let order_ids = crowd::place(&system, 20, &Order::healthy()).await?;
    assert_eq!(system.order(&order_ids[0]).await?["status"], "pending");

    proxy.heal().await?;
    crowd::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn a_missing_confirm_times_out_and_the_event_is_published_again() -> Result<()> {
    let (proxy, url) = link().await?;
    let system = System::builder().amqp_url(Role::Producer, &url).start().await?;
    proxy.black_hole().await?;
    let order_ids = crowd::place(&system, 10, &Order::healthy()).await?;
    // Nobody tells the producer that the line is dead; it must notice by itself.
    wait_for_down(system.producer()?, "relay").await?;
    proxy.heal().await?;
    crowd::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn repeatedly_cut_connections_lose_no_order_and_cost_no_second_call() -> Result<()> {
    let (proxy, url) = link().await?;
    let through = System::builder().amqp_url(Role::Producer, &url).amqp_url(Role::Inventory, &url);
    let system = through.without_collector().start().await?;
    let order = Order::healthy();
    let mut order_ids = Vec::new();
    for _ in 0..5 {
        // Two connections of the producer, two of the worker: in a pause between sessions a cut would hit nothing.
        waiting::until("four connections", PATIENCE, async || match proxy.evidence() {
            Evidence { open: 4, .. } => ControlFlow::Break(()),
            other => ControlFlow::Continue(format!("{other:?}")),
        })
        .await?;
        let told = system.inventory_api.summary().calls;
        // While events, calls, reports and acknowledgements are under way.
        let cut = async {
            system.inventory_api.wait_until("a call", PATIENCE, |api| api.summary().calls > told).await?;
            proxy.cut().await
        };
        let (placed, ()) = tokio::try_join!(crowd::place(&system, 40, &order), cut)?;
        order_ids.extend(placed);
    }
    crowd::delivered_once(&system, &order_ids).await?;
    assert_eq!(proxy.evidence().cuts, 5 * 4, "{:?}", proxy.evidence());
    assert_eq!((system.inventory_api.summary().calls, system.fulfillment_api.summary().calls), (200, 200));
    Ok(())
}

/// Waits until a part of the process is down for a reason, which is more than that it is starting.
async fn wait_for_down(process: &Process, component: &str) -> Result<Readiness> {
    let down = |seen: &Readiness| {
        let component = &seen.body["components"][component];
        component["status"] == "down" && component["reason"].as_str().is_some_and(|reason| reason.len() > 10)
    };
    process.wait_for_readiness(&format!("without its {component}"), down).await
}
