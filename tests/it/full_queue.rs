//! A queue that takes nothing: its own destination falls behind, and no other.

use std::{collections::HashMap, ops::ControlFlow};

use anyhow::{Context, Result, ensure};
use tests::{
    fake_api::FakeApi,
    order::Order,
    process::Readiness,
    system::{Role, System},
    waiting::{PATIENCE, until},
};

use crate::{
    orders,
    own_broker::OwnBroker,
    stores::{Store, over_both_stores},
};

over_both_stores!(
    a_full_queue_holds_up_only_its_own_destination,
    a_producer_killed_while_a_destination_is_behind_loses_nothing,
);

/// The metric of what a destination lacks.
const BEHIND: &str = "tandem_outbox_behind";
const INVENTORY: [(&str, &str); 1] = [("destination", "inventory")];

/// Limits the queue of inventory to a few messages.
async fn limit_inventory(broker: &OwnBroker, system: &System) -> Result<()> {
    let queue = format!("^{}\\.inventory$", system.names.exchange());
    let name = policy(system);
    broker.ctl(&["set_policy", &name, &queue, r#"{"max-length": 5}"#, "--apply-to", "queues"]).await.map(drop)
}

async fn lift_the_limit(broker: &OwnBroker, system: &System) -> Result<()> {
    broker.ctl(&["clear_policy", &policy(system)]).await.map(drop)
}

fn policy(system: &System) -> String {
    format!("few-{}", system.names.exchange())
}

/// Places orders until inventory has fallen behind. The policy takes a while to take effect.
async fn place_until_behind(system: &System) -> Result<Vec<String>> {
    let mut order_ids = Vec::new();
    let behind = async || {
        match orders::place(system, 5, &Order::healthy()).await {
            Ok(more) => order_ids.extend(more),
            Err(fault) => return ControlFlow::Break(Err(fault)),
        }
        match system.readyz(Role::Producer).await {
            Ok(seen) if is_behind(&seen) => ControlFlow::Break(Ok(seen)),
            seen => ControlFlow::Continue(format!("{seen:?}")),
        }
    };
    let seen = until("inventory to fall behind", PATIENCE, behind).await??;
    ensure!(seen.status == 200 && seen.body["status"] == "degraded", "it accepts orders: {seen:?}");
    ensure!(seen.body["components"]["relay"]["status"] == "up", "the other is served: {seen:?}");
    Ok(order_ids)
}

fn is_behind(seen: &Readiness) -> bool {
    let component = &seen.body["components"]["relay inventory"];
    component["status"] == "down" && component["reason"].as_str().is_some_and(|reason| reason.contains("wait for it"))
}

/// How often this API was called about each of these orders.
fn calls(api: &FakeApi, order_ids: &[String]) -> HashMap<String, usize> {
    order_ids.iter().map(|order_id| (order_id.clone(), api.calls_about(order_id).len())).collect()
}

async fn wait_until_level(system: &System) -> Result<()> {
    let producer = system.producer()?;
    producer.wait_for_metric(BEHIND, &INVENTORY, |events| events == 0.0).await?;
    producer.wait_for_metric("tandem_outbox_backlog", &[], |events| events == 0.0).await?;
    producer.wait_for_readiness("ready", |seen| seen.body["status"] == "ready").await.map(drop)
}

async fn a_full_queue_holds_up_only_its_own_destination(store: &Store) -> Result<()> {
    let Some(broker) = OwnBroker::take().await? else { return Ok(()) };
    let mut system = store.builder().broker(&broker.url()).without(Role::Inventory).start().await?;
    limit_inventory(&broker, &system).await?;
    let before = place_until_behind(&system).await?;

    // The other destination gets each order, and each only once.
    let during = orders::place(&system, 300, &Order::healthy()).await?;
    system.fulfillment_api.wait_for_effects((before.len() + during.len()) as u64).await?;
    let called = calls(&system.fulfillment_api, &during);
    ensure!(called.values().all(|calls| *calls == 1), "{called:?}");
    let behind = system.metrics(Role::Producer).await?.sum(BEHIND, &INVENTORY);
    ensure!(behind >= during.len() as f64, "{behind} are behind");
    let placed = (before.len() + during.len()) as f64;
    let published = "tandem_events_published_total";
    system.producer()?.wait_for_metric(published, &[], |events| events == placed).await?;

    // It catches up as far as there is room, and then joins the others.
    system.start_ready(Role::Inventory).await?;
    system.inventory_api.wait_for_effects(before.len() as u64).await?;
    lift_the_limit(&broker, &system).await?;
    let order_ids = [before, during].concat();
    orders::delivered_once(&system, &order_ids).await?;
    wait_until_level(&system).await?;
    let together = |line: &tests::log::Line| line.says("publishing to all destinations at once again");
    system.producer()?.wait_for_log("the end of it", together).await?;
    let after = orders::place(&system, 20, &Order::healthy()).await?;
    orders::delivered_once(&system, &after).await?;
    drop(system);
    broker.give_back();
    Ok(())
}

async fn a_producer_killed_while_a_destination_is_behind_loses_nothing(store: &Store) -> Result<()> {
    let Some(broker) = OwnBroker::take().await? else { return Ok(()) };
    let mut system = store.builder().broker(&broker.url()).without(Role::Inventory).start().await?;
    limit_inventory(&broker, &system).await?;
    let mut order_ids = place_until_behind(&system).await?;
    order_ids.extend(orders::place(&system, 100, &Order::healthy()).await?);
    system.fulfillment_api.wait_for_effects(order_ids.len() as u64).await?;
    for order_id in &order_ids {
        system.wait_for_delivery(order_id, "fulfillment", api::DeliveryStatus::Delivered).await?;
    }
    system.kill9(Role::Producer).await?;
    let producer = system.start_process(Role::Producer, &[])?;
    producer.wait_for_readiness("publishing", |seen| seen.body["components"]["relay"]["status"] == "up").await?;

    let after = orders::place(&system, 20, &Order::healthy()).await?;
    system.fulfillment_api.wait_for_effects((order_ids.len() + after.len()) as u64).await?;
    order_ids.extend(after);
    system.start_ready(Role::Inventory).await?;
    lift_the_limit(&broker, &system).await?;
    orders::delivered_once(&system, &order_ids).await?;
    wait_until_level(&system).await?;
    let called = calls(&system.fulfillment_api, &order_ids);
    ensure!(called.values().all(|calls| *calls == 1), "what the other had got is not published again: {called:?}");
    drop(system);
    broker.give_back();
    Ok(())
}

#[tokio::test]
async fn beyond_the_outbox_limit_of_a_destination_orders_are_refused_and_it_is_named() -> Result<()> {
    let Some(broker) = OwnBroker::take().await? else { return Ok(()) };
    let builder = System::builder().broker(&broker.url()).env(Role::Producer, "OUTBOX_LIMIT", 40);
    let mut system = builder.without(Role::Inventory).start().await?;
    limit_inventory(&broker, &system).await?;
    let mut order_ids = place_until_behind(&system).await?;
    let body = serde_json::to_vec(&Order::healthy())?;
    let refused = async || match system.post(&body, &[]).await {
        Ok(response) if response.status == 503 => ControlFlow::Break(Ok(response)),
        Ok(response) => match tests::system::Placed::from_response(&response) {
            Ok(placed) => {
                order_ids.push(placed.order_id);
                ControlFlow::Continue("accepted".to_owned())
            }
            Err(fault) => ControlFlow::Break(Err(fault)),
        },
        Err(fault) => ControlFlow::Break(Err(fault)),
    };
    let response = until("an order to be refused", PATIENCE, refused).await??;
    ensure!(response.header("retry-after").is_some(), "{response:?}");
    let problem: api::Problem = response.expect(503)?;
    ensure!(problem.detail.contains("inventory"), "{problem:?}");
    ensure!(order_ids.len() >= 40, "{} were accepted", order_ids.len());
    // All that was accepted has reached the other one.
    system.fulfillment_api.wait_for_effects(order_ids.len() as u64).await?;

    system.start_ready(Role::Inventory).await?;
    lift_the_limit(&broker, &system).await?;
    orders::delivered_once(&system, &order_ids).await?;
    wait_until_level(&system).await?;
    let placed = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[placed.order_id]).await?;
    drop(system);
    broker.give_back();
    Ok(())
}

#[tokio::test]
async fn a_queue_that_confirms_nothing_holds_up_only_its_own_destination() -> Result<()> {
    let Some(broker) = OwnBroker::take().await? else { return Ok(()) };
    let system = System::builder().broker(&broker.url()).start().await?;
    let mut order_ids = orders::place(&system, 20, &Order::healthy()).await?;
    orders::delivered_once(&system, &order_ids).await?;
    let queue = system.names.inventory();
    let leader = async |what: &str| {
        let find = format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)), \
             sys:{what}(amqqueue:get_pid(Q))."
        );
        broker.ctl(&["eval", &find]).await.context("the leader of the queue")
    };
    leader("suspend").await?;
    let effects = order_ids.len() as u64;
    order_ids.extend(orders::place(&system, 50, &Order::healthy()).await?);
    system.producer()?.wait_for_readiness("behind", is_behind).await?;
    system.fulfillment_api.wait_for_effects(effects + 50).await?;
    order_ids.extend(orders::place(&system, 50, &Order::healthy()).await?);
    system.fulfillment_api.wait_for_effects(effects + 100).await?;

    leader("resume").await?;
    orders::delivered_once(&system, &order_ids).await?;
    wait_until_level(&system).await?;
    drop(system);
    broker.give_back();
    Ok(())
}
