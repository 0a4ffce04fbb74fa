//! A database of the previous version opens, and its work goes on.
//!
//! The fixtures are databases that commit 84d3347 wrote, with what its API showed of them. [`make_fixtures`] makes them:
//!
//! ```text
//! TANDEM_BINARIES=path/to/its/target/release cargo test -p tests --test it make_fixtures -- --ignored
//! ```

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use api::{OrderStatus, Problem, Redrive, RedriveStatus};
use lapin::BasicProperties;
use serde_json::{Value, json};
use tests::{
    fake_api::Behaviour,
    order::Order,
    system::{Placed, Response, Role, System},
};

use crate::{
    broker_proxy::broker_proxy,
    operator::{self, wait_for, wait_for_matched},
    orders,
    stores::{Store, over_both_stores},
};

over_both_stores!(a_database_of_the_previous_version_opens_and_its_work_goes_on);

/// Lists to compare, besides single orders and dead letters.
const SHOWN: [&str; 7] = [
    "/v1/orders?limit=500",
    "/v1/orders?status=pending",
    "/v1/orders?status=dead_lettered&destination=inventory",
    "/v1/dead-letters?limit=500",
    "/v1/dead-letters?archived=true",
    "/v1/dead-letters:groups",
    "/v1/redrives",
];

async fn a_database_of_the_previous_version_opens_and_its_work_goes_on(store: &Store) -> Result<()> {
    let expected: Value = serde_json::from_slice(&fs::read(fixture(store, "json"))?)?;
    // Keys in the fixtures must not expire.
    let builder = store.builder().env(Role::Producer, "IDEMPOTENCY_KEY_TTL", "87600h");
    let mut system = builder.without(Role::Producer).without_workers().start().await?;
    match store {
        Store::Sqlite => drop(fs::copy(fixture(store, "db"), system.database())?),
        Store::Postgres(database) => {
            database.connect().await?.batch_execute(&fs::read_to_string(fixture(store, "sql"))?).await?;
        }
    }
    system.start_ready(Role::Producer).await?;

    // Everything is shown as before.
    for (path, shown) in expected["shown"].as_object().context("shown")? {
        let now: Value = system.get(path).await?;
        ensure!(holds(&now, shown), "{path}:\n{now}\ninstead of\n{shown}");
    }

    // What waited in the outbox is delivered.
    system.start_ready(Role::Inventory).await?;
    system.start_ready(Role::Fulfillment).await?;
    let pending: Vec<String> = serde_json::from_value(expected["pending"].clone())?;
    orders::delivered_once(&system, &pending).await?;
    system.producer()?.wait_for_metric("tandem_outbox_backlog", &[], |events| events == 0.0).await?;

    // A repeated key returns what it stands for.
    for order in expected["orders"].as_array().context("orders")? {
        let again = place(&system, order["key"].as_str().context("key")?, &order["body"]).await?;
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{}", again.body);
        assert_eq!(again.body["order_id"], order["order_id"]);
    }
    let redrives = expected["redrives"].as_array().context("redrives")?;
    for redrive in redrives {
        let again = redrive_under(&system, redrive["key"].as_str().context("key")?, &redrive["body"]).await?;
        assert_eq!(again.body["id"], redrive["id"], "{}", again.body);
        assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")));
    }
    let other = redrive_under(&system, redrives[0]["key"].as_str().context("key")?, &redrives[1]["body"]).await?;
    assert_eq!(other.expect::<Problem>(422)?.uri, "/problems/idempotency-key-reused");

    // A redrive that was paused goes on, and what is left can be sent again.
    let paused = format!("/v1/redrives/{}", redrives[1]["id"].as_str().context("id")?);
    let resumed = operator::control(&system, &paused, "resume").await?;
    assert_eq!(resumed.expect::<Redrive>(200)?.status, RedriveStatus::Running);
    let done = wait_for(&system, &paused, "completed", |redrive| redrive.status == RedriveStatus::Completed).await?;
    assert_eq!(done.delivered, done.matched);
    let rest = operator::start(&system, &json!({"filter": {"destination": "fulfillment"}})).await?;
    wait_for(&system, &rest, "completed", |redrive| redrive.delivered == 1).await?;
    let refused: Vec<String> = serde_json::from_value(expected["refused"].clone())?;
    for order in orders::settled(&system, &refused).await? {
        assert_eq!(order.status, OrderStatus::Delivered);
    }
    // New orders are accepted.
    let placed = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[placed.order_id]).await
}

/// Whether everything in `earlier` is in `now`, which may have more fields.
fn holds(now: &Value, earlier: &Value) -> bool {
    match (now, earlier) {
        (Value::Object(now), Value::Object(earlier)) => {
            earlier.iter().all(|(name, value)| now.get(name).is_some_and(|now| holds(now, value)))
        }
        (Value::Array(now), Value::Array(earlier)) => {
            now.len() == earlier.len() && now.iter().zip(earlier).all(|(now, earlier)| holds(now, earlier))
        }
        _ => now == earlier,
    }
}

fn fixture(store: &Store, kind: &str) -> PathBuf {
    let name = match store {
        Store::Sqlite => "sqlite",
        Store::Postgres(_) => "postgres",
    };
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("it/fixtures").join(format!("{name}.{kind}"))
}

async fn place(system: &System, key: &str, order: &Value) -> Result<Response> {
    system.post(&serde_json::to_vec(order)?, &[("idempotency-key", key)]).await
}

async fn redrive_under(system: &System, key: &str, body: &Value) -> Result<Response> {
    system.post_at("/v1/redrives", body, &[("idempotency-key", key)]).await
}

#[tokio::test]
#[ignore = "writes the fixtures, with the binaries of an earlier version"]
async fn make_fixtures() -> Result<()> {
    ensure!(std::env::var_os("TANDEM_BINARIES").is_some(), "an earlier version makes them, see TANDEM_BINARIES");
    for store in [Store::Sqlite, Store::postgres().await?] {
        make(&store).await?;
    }
    Ok(())
}

async fn make(store: &Store) -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    let mut system = store.builder().with_quick_retries().amqp_url(Role::Producer, &url).start().await?;
    let mut orders = Vec::new();
    let keyed = async |system: &System, orders: &mut Vec<Value>, key: &str, order: &Order| {
        let body = serde_json::to_value(order)?;
        let placed = Placed::from_response(&place(system, key, &body).await?)?;
        orders.push(json!({"key": key, "body": body, "order_id": placed.order_id}));
        anyhow::Ok(placed.order_id)
    };

    // Delivered, and dead letters of each kind.
    let delivered = keyed(&system, &mut orders, "delivered", &Order::healthy().and("SKU-2", 3)).await?;
    orders::delivered_once(&system, &[delivered]).await?;
    let mut refused = operator::refused(&system, 5, "SKU-refused", 422).await?;
    system.fulfillment_api.set_rule("SKU-exhausted", Behaviour::Status(503));
    let exhausted = system.place(&Order::of("SKU-exhausted")).await?;
    system.wait_settled(&exhausted.order_id).await?;
    let queue = system.names.inventory();
    system.queues().await?.publish("", &queue, b"\xff\xfe", BasicProperties::default()).await?;
    let letters = system.wait_for_dead_letters("", 7).await?;
    let id_of = |order_id: String| {
        let found = letters.iter().find(|letter| letter.order_id.as_ref() == Some(&order_id));
        found.map(|letter| letter.id.clone()).context("a dead letter")
    };
    let path = format!("/v1/dead-letters/{}/archive", id_of(refused.pop().context("an order")?)?);
    system.post_at(&path, &json!({"note": "known"}), &[]).await?.expect::<Value>(200)?;

    // One redrive that is completed, and one that is paused.
    operator::accept(&system, "SKU-refused");
    let first = id_of(refused[0].clone())?;
    let mut redrives = Vec::new();
    for (key, body, wanted) in [
        ("completed", json!({"ids": [first]}), RedriveStatus::Completed),
        (
            "paused",
            json!({"filter": {"destination": "inventory", "reason": "rejected"}, "rate": 1}),
            RedriveStatus::Running,
        ),
    ] {
        let started: Redrive = redrive_under(&system, key, &body).await?.expect(201)?;
        let path = format!("/v1/redrives/{}", started.id);
        wait_for(&system, &path, key, |redrive| redrive.status == wanted && redrive.delivered == 1).await?;
        redrives.push(json!({"key": key, "body": body, "id": started.id}));
        if wanted == RedriveStatus::Running {
            operator::control(&system, &path, "pause").await?;
            wait_for(&system, &path, "quiet", |redrive| redrive.delivered == redrive.sent).await?;
        }
    }
    wait_for_matched(&system, &json!({"destination": "inventory"}), 1).await?;

    // Accepted, and not published.
    proxy.down().await?;
    system.producer()?.wait_for_readiness("degraded", |seen| seen.body["status"] == "degraded").await?;
    let mut pending = vec![keyed(&system, &mut orders, "pending", &Order::healthy()).await?];
    pending.extend(orders::place(&system, 2, &Order::of("SKU-3")).await?);

    let mut shown = serde_json::Map::new();
    let of_orders = refused.iter().chain(&pending).chain([&exhausted.order_id]).map(|id| format!("/v1/orders/{id}"));
    let of_letters = letters.iter().map(|letter| format!("/v1/dead-letters/{}", letter.id));
    for path in SHOWN.iter().map(|path| (*path).to_owned()).chain(of_orders).chain(of_letters) {
        shown.insert(path.clone(), system.get::<Value>(&path).await?);
    }
    refused.push(exhausted.order_id);
    let expected = json!({
        "shown": shown, "orders": orders, "pending": pending, "redrives": redrives, "refused": refused,
    });
    fs::write(fixture(store, "json"), serde_json::to_vec_pretty(&expected)?)?;
    system.terminate(Role::Producer).await?;
    match store {
        Store::Sqlite => drop(fs::copy(system.database(), fixture(store, "db"))?),
        Store::Postgres(database) => {
            let mut dump = Command::new("pg_dump");
            dump.args(["--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100", database.url()]);
            let dump = dump.output()?;
            ensure!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
            // Some versions add commands of psql, which a server does not know.
            let sql = String::from_utf8(dump.stdout)?;
            let sql: String =
                sql.lines().filter(|line| !line.starts_with('\\')).map(|line| format!("{line}\n")).collect();
            fs::write(fixture(store, "sql"), sql)?;
        }
    }
    Ok(())
}
