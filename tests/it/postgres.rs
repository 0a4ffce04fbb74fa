//! Postgres: several producers on one database, and the database away.

use std::{collections::HashSet, num::NonZeroUsize, time::Duration};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use tests::{
    broker::{address, through},
    order::Order,
    postgres::{Database, fresh_database},
    proxy::FaultProxy,
    system::{Role, System, SystemBuilder},
};

use crate::{crowd, link::link, load::Load, scrape};

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
/// What a producer says of it.
const TAKEN_OVER: &str = "took over the outbox of a producer that has ended";

/// Two producers on one database.
fn two(database: &Database) -> SystemBuilder {
    System::builder().postgres(database).producers(TWO)
}

async fn count(database: &Database, what: &str) -> Result<i64> {
    Ok(database.connect().await?.query_one(&format!("SELECT count(*) FROM {what}"), &[]).await?.get(0))
}

#[tokio::test]
async fn two_producers_on_one_database_deliver_each_others_orders_and_both_know_of_all() -> Result<()> {
    let database = fresh_database().await?;
    // Both start on an empty database at once.
    let system = two(&database).start().await?;
    let mut order_ids = Vec::new();
    for _ in 0..20 {
        for producer in system.producers() {
            order_ids.push(system.place_with(producer, &Order::healthy()).await?.order_id);
        }
    }
    crowd::delivered_once(&system, &order_ids).await?;
    for producer in system.producers() {
        for order_id in &order_ids {
            assert_eq!(system.order_from(producer, order_id).await?["status"], "delivered");
        }
    }
    assert_eq!(count(&database, "pending").await?, 0, "nothing is left of what has ended");
    Ok(())
}

#[tokio::test]
async fn a_producer_killed_while_the_broker_is_away_leaves_its_orders_to_the_other() -> Result<()> {
    let database = fresh_database().await?;
    let (proxy, url) = link().await?;
    let mut system = two(&database).amqp_url(Role::Producer, &url).start().await?;
    proxy.down().await?;
    let [first, second] = system.producers()[..] else { anyhow::bail!("two producers were asked for") };
    let mut order_ids = Vec::new();
    for _ in 0..20 {
        order_ids.push(system.place_with(first, &Order::healthy()).await?.order_id);
        order_ids.push(system.place_with(second, &Order::healthy()).await?.order_id);
    }
    system.kill9(Role::Producer).await?;
    proxy.heal().await?;
    // Its lease has to end first.
    system.producer()?.wait_for_log("what it takes over", |line| line.says(TAKEN_OVER)).await?;
    crowd::delivered_once(&system, &order_ids).await?;
    scrape::wait_for(system.producer()?, "tandem_outbox_backlog", &[], |events| events == 0.0).await?;
    assert_eq!(count(&database, "lines").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_hundred_twins_of_one_key_over_two_producers_are_one_order() -> Result<()> {
    let database = fresh_database().await?;
    let system = two(&database).start().await?;
    let body = serde_json::to_vec(&Order::healthy())?;
    let producers = system.producers();
    let twins = (0..100).map(|number| {
        let producer = producers[number % 2];
        system.post_to(producer, &body, &[("Idempotency-Key", "twin")])
    });
    let mut order_ids = HashSet::new();
    for answer in try_join_all(twins).await? {
        assert_eq!(answer.status, 202, "{}", answer.body);
        order_ids.insert(answer.body["order_id"].as_str().context("an id")?.to_owned());
    }
    assert_eq!(order_ids.len(), 1);
    crowd::delivered_once(&system, &Vec::from_iter(order_ids)).await?;
    assert_eq!(count(&database, "orders").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_away_makes_the_producer_unready_and_nothing_more() -> Result<()> {
    let database = fresh_database().await?;
    let proxy = FaultProxy::start(&address(database.url())?)?;
    let url = through(database.url(), proxy.address())?;
    let system = System::builder().database_url(&url).start().await?;
    let mut order_ids = crowd::place(&system, 20, &Order::healthy()).await?;

    proxy.down().await?;
    let readiness = system.producer()?.wait_for_readiness("not ready", |seen| seen.status == 503).await?;
    assert!(readiness.body.to_string().contains("store"), "{}", readiness.body);
    assert_eq!(system.producer()?.livez().await?, 200);
    let refused = system.post(&serde_json::to_vec(&Order::healthy())?, &[]).await?;
    assert_eq!(refused.status, 503);

    proxy.heal().await?;
    system.producer()?.ready().await?;
    order_ids.extend(crowd::place(&system, 20, &Order::healthy()).await?);
    crowd::delivered_once(&system, &order_ids).await?;
    assert!(proxy.evidence().cuts > 0);
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_somebody_holds_open_under_load_holds_up_nothing() -> Result<()> {
    let database = fresh_database().await?;
    let system = System::builder().postgres(&database).start().await?;
    crowd::place(&system, 5, &Order::healthy()).await?;
    let mut holder = database.connect().await?;
    let held =
        holder.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await?;
    let before: i64 = held.query_one("SELECT count(*) FROM orders", &[]).await?.get(0);
    let mut load = Load::start(&system, &Order::healthy()).await?;
    load.more(500).await?;
    let order_ids = load.stop().await?;
    crowd::delivered_once(&system, &order_ids).await?;
    assert_eq!(held.query_one("SELECT count(*) FROM orders", &[]).await?.get::<_, i64>(0), before, "still held");
    held.rollback().await?;
    Ok(())
}

#[tokio::test]
async fn a_producer_that_ends_in_order_leaves_no_lease_behind() -> Result<()> {
    let database = fresh_database().await?;
    let mut system = System::builder().postgres(&database).start().await?;
    let order_ids = crowd::place(&system, 20, &Order::healthy()).await?;
    crowd::delivered_once(&system, &order_ids).await?;
    let ended = system.terminate(Role::Producer).await?;
    assert_eq!(ended.wait_exit(Duration::from_secs(5)).await?.code(), Some(0));
    assert_eq!(count(&database, "lines WHERE leased_until > now()").await?, 0);
    let sessions = "pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tandem producer%'";
    assert_eq!(count(&database, sessions).await?, 0);
    Ok(())
}
