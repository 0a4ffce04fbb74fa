//! Clients that wait for the result instead of asking for it.

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tests::{
    order::Order,
    process::Process,
    system::{Role, System, SystemBuilder},
    waiting::PATIENCE,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    ending::Ending,
    scrape,
    stores::{Store, over_both_stores},
};

const WAITING: &str = "tandem_http_waiting";
/// How many wait at once.
const CROWD: usize = 2_000;

/// Producers that let clients wait for longer than a test does.
fn patient(builder: SystemBuilder) -> SystemBuilder {
    builder.env(Role::Producer, "WAIT_MAX", "10m")
}

/// A client that has sent an order and waits for its result, on a connection of its own.
async fn waits(producer: &Process, order: &Order) -> Result<TcpStream> {
    let body = serde_json::to_string(order)?;
    let mut stream = TcpStream::connect(producer.http_addr().await?).await?;
    let request = format!(
        "POST /v1/orders HTTP/1.1\r\nHost: tandem\r\nContent-Type: application/json\r\nPrefer: wait=600\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// What it is answered: the status, and the body.
async fn answered(mut stream: TcpStream) -> Result<(u16, Value)> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, serde_json::from_str(body)?))
}

over_both_stores!(
    a_waiting_client_gets_the_result_of_each_destination,
    a_wait_that_times_out_returns_what_is_known_and_can_be_repeated,
    two_thousand_waiting_clients_each_get_their_result,
);

async fn a_waiting_client_gets_the_result_of_each_destination(store: &Store) -> Result<()> {
    let system = patient(store.builder()).with_quick_retries().start().await?;
    let wanted = [
        ("SKU-1", "delivered", ["delivered", "delivered"]),
        ("fulfillment-status-422", "partially_delivered", ["delivered", "dead_lettered"]),
        ("status-422", "dead_lettered", ["dead_lettered", "dead_lettered"]),
    ];
    for (product, status, [inventory, fulfillment]) in wanted {
        let body = serde_json::to_vec(&Order::of(product))?;
        let headers = [("prefer", "respond-async, wait=\"500\""), ("idempotency-key", product)];
        let answer = system.post(&body, &headers).await?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("preference-applied"), Some("wait=500"));
        assert_eq!(answer.header("vary"), Some("Prefer"));
        let order = &answer.body;
        assert_eq!(order["status"], status, "{order}");
        assert_eq!(order["deliveries"]["inventory"]["status"], inventory, "{order}");
        assert_eq!(order["deliveries"]["fulfillment"]["status"], fulfillment, "{order}");
        let order_id = order["order_id"].as_str().context("order_id")?;
        assert_eq!(system.order(order_id).await?, *order);

        let again = system.post(&body, &headers).await?;
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
        assert_eq!(again.body, *order);
    }
    Ok(())
}

async fn a_wait_that_times_out_returns_what_is_known_and_can_be_repeated(store: &Store) -> Result<()> {
    let system = store.builder().env(Role::Producer, "WAIT_MAX", "2s").start().await?;
    system.inventory_api.set_rule("waits", "hang".parse()?);
    let body = serde_json::to_vec(&Order::of("waits"))?;
    let answer = system.post(&body, &[("prefer", "wait=3600")]).await?;
    assert_eq!((answer.status, answer.header("preference-applied")), (202, Some("wait=2")));
    assert_eq!(answer.body["status"], "pending");
    system.inventory_api.set_rule("waits", "status-200".parse()?);
    let url = format!("{}{}", system.producer()?.url().await?, answer.header("location").context("location")?);
    let http = tests::http::client()?;
    let get = async |headers: &[(&str, &str)]| {
        let request = headers.iter().fold(http.get(&url), |request, (name, value)| request.header(*name, *value));
        anyhow::Ok(request.send().await?)
    };
    let order_id = answer.body["order_id"].as_str().context("order_id")?;
    // It hangs until the worker's time is over; then it is tried again, and well.
    let settled = loop {
        let shown = get(&[("prefer", "wait=2")]).await?;
        let tag = shown.headers()["etag"].to_str()?.to_owned();
        let order: Value = serde_json::from_slice(&shown.bytes().await?)?;
        if order["status"] != "pending" {
            break (tag, order);
        }
    };
    assert_eq!(settled.1["status"], "delivered");
    assert_eq!(system.order(order_id).await?, settled.1);
    let unchanged = get(&[("if-none-match", &settled.0)]).await?;
    assert_eq!((unchanged.status().as_u16(), unchanged.bytes().await?.len()), (304, 0));
    Ok(())
}

async fn two_thousand_waiting_clients_each_get_their_result(store: &Store) -> Result<()> {
    patient(store.builder())
        .without_workers()
        .run(async |system| {
            let producer = system.producer()?;
            let waiting: Vec<_> = stream::iter(0..CROWD)
                .map(async |_| waits(producer, &Order::healthy()).await)
                .buffered(64)
                .try_collect()
                .await?;
            scrape::wait_for(producer, WAITING, &[], |waiting| waiting == CROWD as f64).await?;
            // All that they cost is their place: the process has time for everybody else.
            assert_eq!(producer.readyz().await?.status, 200);
            for role in [Role::Inventory, Role::Fulfillment] {
                system.start_process(role, &[])?;
            }
            let answers: Vec<_> = stream::iter(waiting).map(answered).buffer_unordered(CROWD).try_collect().await?;
            let mut order_ids = std::collections::HashSet::new();
            for (status, order) in answers {
                ensure!(status == 200 && order["status"] == "delivered", "{status} {order}");
                order_ids.insert(order["order_id"].to_string());
            }
            assert_eq!(order_ids.len(), CROWD, "each had its own");
            scrape::wait_for(system.producer()?, WAITING, &[], |waiting| waiting == 0.0).await
        })
        .await
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_permit() -> Result<()> {
    let system = patient(System::builder()).without_workers().env(Role::Producer, "WAITERS", 1).start().await?;
    let producer = system.producer()?;
    let waiting = waits(producer, &Order::healthy()).await?;
    scrape::wait_for(producer, WAITING, &[], |waiting| waiting == 1.0).await?;
    // As many wait as may: the next one is answered at once.
    let answer = system.post(&serde_json::to_vec(&Order::healthy())?, &[("prefer", "wait=60")]).await?;
    assert_eq!((answer.status, answer.header("preference-applied")), (202, None));
    drop(waiting);
    scrape::wait_for(producer, WAITING, &[], |waiting| waiting == 0.0).await
}

#[tokio::test]
async fn a_terminated_producer_responds_to_waiting_clients() -> Result<()> {
    let mut system = patient(System::builder()).without_workers().start().await?;
    let waiting = waits(system.producer()?, &Order::healthy()).await?;
    scrape::wait_for(system.producer()?, WAITING, &[], |waiting| waiting == 1.0).await?;
    let producer = system.take(Role::Producer)?;
    producer.terminate()?;
    let (status, order) = answered(waiting).await?;
    assert_eq!((status, &order["status"]), (202, &json!("pending")));
    let ending = Ending::of(&producer).await?;
    assert_eq!(ending.code, Some(0));
    assert!(!ending.says("cutting HTTP connections that did not finish in time"), "{}", ending.text());
    // The order that was accepted is there.
    system.start_ready(Role::Producer).await?;
    let order_id = order["order_id"].as_str().context("order_id")?;
    assert_eq!(system.order(order_id).await?["status"], "pending");
    Ok(())
}

#[tokio::test]
async fn waiting_reads_an_order_once_per_report_instead_of_polling() -> Result<()> {
    const WAIT: usize = 200;
    const LOOKS: &str = "tandem_http_looks_total";
    let mut system = patient(System::builder()).without_workers().start().await?;
    let waiting: Vec<_> = stream::iter(0..WAIT)
        .map(async |_| waits(system.producer()?, &Order::healthy()).await)
        .buffered(16)
        .try_collect()
        .await?;
    scrape::wait_for(system.producer()?, WAITING, &[], |waiting| waiting == WAIT as f64).await?;
    system.start_ready(Role::Inventory).await?;
    system.inventory_api.wait_for_effects(WAIT as u64, PATIENCE).await?;
    // However long it takes: one look for what one worker has reported, and none before.
    scrape::wait_for(system.producer()?, LOOKS, &[], |looks| looks == WAIT as f64).await?;
    system.start_ready(Role::Fulfillment).await?;
    let answers: Vec<_> = stream::iter(waiting).map(answered).buffer_unordered(WAIT).try_collect().await?;
    ensure!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    let looks = system.metrics(Role::Producer).await?.sum(LOOKS, &[]);
    assert_eq!(looks, 2.0 * WAIT as f64);
    Ok(())
}
