//! Postgres: several producers on one database, and a database that is down.

use std::{
    collections::HashSet,
    num::NonZeroUsize,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use api::{List, OrderStatus};
use futures_util::future::try_join_all;
use tests::{
    order::Order,
    ports::Port,
    postgres::{Database, fresh_database},
    proxy::FaultProxy,
    system::{Placed, Role, System, SystemBuilder},
    url::{address, through},
    waiting::{PATIENCE, until},
};

use crate::{broker_proxy::broker_proxy, events, exit::Exit, load::Load, orders};

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
/// The message of a producer about it.
const TAKEN_OVER: &str = "took over the outbox of a producer that has ended";

/// Two producers on one database.
fn two(database: &Database) -> SystemBuilder {
    System::builder().postgres(database).producers(TWO)
}

async fn count(database: &Database, what: &str) -> Result<i64> {
    Ok(database.connect().await?.query_one(&format!("SELECT count(*) FROM {what}"), &[]).await?.get(0))
}

async fn wait_for_count(database: &Database, what: &str, wanted: i64) -> Result<()> {
    let asked = async || match count(database, what).await {
        Ok(found) if found == wanted => ControlFlow::Break(()),
        seen => ControlFlow::Continue(format!("{seen:?}")),
    };
    until(&format!("{wanted} rows of {what}"), PATIENCE, asked).await
}

#[tokio::test]
async fn two_producers_on_one_database_both_show_every_order() -> Result<()> {
    let database = fresh_database().await?;
    // Both start on an empty database at once.
    let system = two(&database).start().await?;
    let mut order_ids = Vec::new();
    for _ in 0..20 {
        for producer in system.producers() {
            order_ids.push(system.place_with(producer, &Order::healthy()).await?.order_id);
        }
    }
    orders::delivered_once(&system, &order_ids).await?;
    for producer in system.producers() {
        for order_id in &order_ids {
            let order: api::Order = system.get_from(producer, &format!("/v1/orders/{order_id}")).await?;
            assert_eq!(order.status, OrderStatus::Delivered);
        }
    }
    // No row is left of a delivery that has ended.
    wait_for_count(&database, "pending", 0).await
}

#[tokio::test]
async fn a_producer_takes_over_the_outbox_of_one_that_was_killed() -> Result<()> {
    let database = fresh_database().await?;
    let (proxy, url) = broker_proxy().await?;
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
    // Its lease must expire first.
    system.producer()?.wait_for_log("what it takes over", |line| line.says(TAKEN_OVER)).await?;
    orders::delivered_once(&system, &order_ids).await?;
    system.producer()?.wait_for_metric("tandem_outbox_backlog", &[], |events| events == 0.0).await?;
    wait_for_count(&database, "lines", 1).await
}

#[tokio::test]
async fn a_hundred_repeats_over_two_producers_are_one_order() -> Result<()> {
    let database = fresh_database().await?;
    let system = two(&database).start().await?;
    let body = serde_json::to_vec(&Order::healthy())?;
    let producers = system.producers();
    let repeats = (0..100).map(|number| {
        let producer = producers[number % 2];
        system.post_to(producer, &body, &[("Idempotency-Key", "key")])
    });
    let mut order_ids = HashSet::new();
    for response in try_join_all(repeats).await? {
        order_ids.insert(Placed::from_response(&response)?.order_id);
    }
    assert_eq!(order_ids.len(), 1);
    orders::delivered_once(&system, &Vec::from_iter(order_ids)).await?;
    assert_eq!(count(&database, "orders").await?, 1);
    Ok(())
}

#[tokio::test]
async fn an_unreachable_database_makes_the_producer_not_ready() -> Result<()> {
    let database = fresh_database().await?;
    let proxy = FaultProxy::start(&address(database.url())?)?;
    let url = through(database.url(), proxy.address())?;
    let system = System::builder().database_url(&url).start().await?;
    let mut order_ids = orders::place(&system, 20, &Order::healthy()).await?;

    proxy.down().await?;
    let readiness = system.producer()?.wait_for_readiness("not ready", |seen| seen.status == 503).await?;
    assert!(readiness.body.to_string().contains("store"), "{}", readiness.body);
    assert_eq!(system.producer()?.livez().await?, 200);
    let refused = system.post(&serde_json::to_vec(&Order::healthy())?, &[]).await?;
    assert_eq!(refused.status, 503);

    proxy.heal().await?;
    system.producer()?.ready().await?;
    order_ids.extend(orders::place(&system, 20, &Order::healthy()).await?);
    orders::delivered_once(&system, &order_ids).await?;
    assert!(proxy.evidence().cuts > 0);
    Ok(())
}

/// How long a POST takes under load: the lowest of several medians, because the machine may be busy.
async fn latency(system: &System) -> Result<Duration> {
    let body = serde_json::to_vec(&Order::healthy())?;
    let mut quietest = Duration::MAX;
    for _ in 0..4 {
        let mut took = Vec::new();
        for _ in 0..50 {
            let began = Instant::now();
            ensure!(system.post(&body, &[]).await?.status == 202, "not accepted");
            took.push(began.elapsed());
        }
        took.sort_unstable();
        quietest = quietest.min(took[took.len() / 2]);
    }
    Ok(quietest)
}

#[tokio::test]
async fn a_transaction_held_open_under_load_does_not_slow_orders_down() -> Result<()> {
    let database = fresh_database().await?;
    let system = System::builder().postgres(&database).start().await?;
    let mut load = Load::start(&system, &Order::healthy()).await?;
    load.more(200).await?;
    let before = latency(&system).await?;

    let mut holder = database.connect().await?;
    let held =
        holder.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await?;
    let seen: i64 = held.query_one("SELECT count(*) FROM orders", &[]).await?.get(0);
    // Rows deleted from now on cannot be vacuumed.
    load.more(1_500).await?;
    let during = latency(&system).await?;
    ensure!(during < before * 5, "{before:?} before, {during:?} while a transaction is open");
    let order_ids = load.stop().await?;
    orders::delivered_once(&system, &order_ids).await?;
    assert_eq!(
        held.query_one("SELECT count(*) FROM orders", &[]).await?.get::<_, i64>(0),
        seen,
        "the transaction is still open"
    );
    held.rollback().await?;
    Ok(())
}

#[tokio::test]
async fn the_pending_table_stays_small_under_constant_load() -> Result<()> {
    let database = fresh_database().await?;
    let system = System::builder().postgres(&database).start().await?;
    let client = database.connect().await?;
    let mut load = Load::start(&system, &Order::healthy()).await?;
    let mut sizes = Vec::new();
    for _ in 0..4 {
        load.more(500).await?;
        // As the server does by itself now and then. An old transaction of a producer would prevent it.
        client.batch_execute("VACUUM pending, lines").await?;
        let size = "SELECT pg_total_relation_size('pending') + pg_total_relation_size('lines')";
        sizes.push(client.query_one(size, &[]).await?.get::<_, i64>(0));
    }
    // With room for what waits for a slow worker, and not four times the size for four times the orders.
    ensure!(sizes[3] < 3 * sizes[0].max(512 * 1_024), "{sizes:?} bytes");
    let order_ids = load.stop().await?;
    orders::delivered_once(&system, &order_ids).await?;
    wait_for_count(&database, "pending", 0).await?;
    wait_for_count(&database, "lines", 1).await
}

#[tokio::test]
async fn a_client_waiting_at_one_producer_sees_what_another_recorded() -> Result<()> {
    const RECORDED: &str = "tandem_ledger_outcomes_total";
    let database = fresh_database().await?;
    // A producer that misses a notification waits longer than this test's client.
    let system = two(&database).env(Role::Producer, "WAIT_MAX", "10m").start().await?;
    let body = serde_json::to_vec(&Order::healthy())?;
    let (mut order_ids, mut recorded) = (Vec::new(), 0.0);
    // Until the other producer has recorded an outcome of the first one.
    while recorded == 0.0 || order_ids.len() < 40 {
        let waiting = (0..20).map(|_| system.post_to(system.producers()[0], &body, &[("prefer", "wait=600")]));
        for response in try_join_all(waiting).await? {
            let order: api::Order = response.expect(200)?;
            assert_eq!(order.status, OrderStatus::Delivered);
            order_ids.push(order.order_id);
        }
        recorded = system.producers()[1].metrics().await?.sum(RECORDED, &[]);
    }
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn keys_are_shared_by_two_producers_and_survive_their_restart() -> Result<()> {
    let database = fresh_database().await?;
    let mut system = two(&database).start().await?;
    let body = serde_json::to_vec(&Order::healthy())?;
    let place = async |system: &System, producer: usize, key: String| {
        let response = system.post_to(system.producers()[producer], &body, &[("Idempotency-Key", &key)]).await?;
        let replayed = response.header("idempotency-replayed").is_some();
        anyhow::Ok((Placed::from_response(&response)?.order_id, replayed))
    };
    let mut order_ids = Vec::new();
    for number in 0..40 {
        order_ids.push(place(&system, number % 2, format!("k-{number}")).await?.0);
    }
    for _ in 0..2 {
        system.replace(Role::Producer).await?;
    }
    for (number, order_id) in order_ids.iter().enumerate() {
        let again = place(&system, (number + 1) % 2, format!("k-{number}")).await?;
        assert_eq!(again, (order_id.clone(), true));
    }
    orders::delivered_once(&system, &order_ids).await
}

#[tokio::test]
async fn lists_and_feed_of_one_producer_show_the_orders_of_both() -> Result<()> {
    let database = fresh_database().await?;
    let system = two(&database).start().await?;
    let mut order_ids = Vec::new();
    for number in 0..40 {
        order_ids.push(system.place_with(system.producers()[number % 2], &Order::healthy()).await?.order_id);
    }
    orders::delivered_once(&system, &order_ids).await?;
    let wanted: HashSet<_> = order_ids.iter().map(String::as_str).collect();
    for producer in system.producers() {
        let listed: List<api::Order> = system.get_from(producer, "/v1/orders?limit=500").await?;
        assert_eq!(listed.items.iter().map(|order| order.order_id.as_str()).collect::<HashSet<_>>(), wanted);
        let settled = events::settled_since(producer, "0", order_ids.len()).await?;
        assert_eq!(settled.iter().map(String::as_str).collect::<HashSet<_>>(), wanted);
    }
    Ok(())
}

#[tokio::test]
async fn a_producer_that_exits_normally_leaves_no_lease() -> Result<()> {
    let database = fresh_database().await?;
    let mut system = System::builder().postgres(&database).start().await?;
    let order_ids = orders::place(&system, 20, &Order::healthy()).await?;
    orders::delivered_once(&system, &order_ids).await?;
    let ended = system.terminate(Role::Producer).await?;
    assert_eq!(ended.wait_exit().await?.code(), Some(0));
    assert_eq!(count(&database, "lines WHERE leased_until > now()").await?, 0);
    let sessions = "pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tandem producer%'";
    // The server takes a moment to notice.
    wait_for_count(&database, sessions, 0).await
}

#[tokio::test]
async fn an_unreachable_database_at_start_is_an_error_that_names_it() -> Result<()> {
    let port = Port::choose()?;
    let url = format!("postgres://someone:hush@127.0.0.1:{}/orders", port.number());
    let mut system = System::builder().without(Role::Producer).without_workers().start().await?;
    let exit = Exit::of(system.start_process(Role::Producer, &[("DATABASE_URL", &url)])?).await?;
    assert_eq!(exit.code, Some(1));
    let place = format!("127.0.0.1:{}", port.number());
    assert!(exit.text().contains("DATABASE_URL") && exit.text().contains(&place), "{}", exit.text());
    assert!(!exit.text().contains("hush"), "{}", exit.text());
    Ok(())
}
