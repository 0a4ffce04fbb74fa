//! Clients that wait for the result instead of polling for it.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use api::{
    Accepted,
    DeliveryStatus::{DeadLettered, Delivered},
    Order, OrderStatus,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;
use tests::{
    order,
    process::Process,
    system::{Placed, Role, System, SystemBuilder},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    exit::Exit,
    stores::{Store, over_both_stores},
};

const WAITING: &str = "tandem_http_waiting";
/// How many clients wait at once.
const CLIENTS: usize = 2_000;

/// Producers that let clients wait longer than a test runs.
fn patient(builder: SystemBuilder) -> SystemBuilder {
    builder.env(Role::Producer, "WAIT_MAX", "10m")
}

/// A client that has sent an order and waits for its result, by its connection.
async fn wait_for_result(producer: &Process, order: &order::Order) -> Result<TcpStream> {
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

/// Reads the response: the status code and the body.
async fn response<T: DeserializeOwned>(mut stream: TcpStream) -> Result<(u16, T)> {
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no response: {text:?}"))?;
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
        ("SKU-1", OrderStatus::Delivered, [Delivered, Delivered]),
        ("fulfillment-status-422", OrderStatus::PartiallyDelivered, [Delivered, DeadLettered]),
        ("status-422", OrderStatus::DeadLettered, [DeadLettered, DeadLettered]),
    ];
    for (product, status, [inventory, fulfillment]) in wanted {
        let body = serde_json::to_vec(&order::Order::of(product))?;
        let headers = [("prefer", "respond-async, wait=\"500\""), ("idempotency-key", product)];
        let response = system.post(&body, &headers).await?;
        assert_eq!(response.header("preference-applied"), Some("wait=500"));
        assert_eq!(response.header("vary"), Some("Prefer"));
        let order: Order = response.expect(200)?;
        assert_eq!(order.status, status);
        assert_eq!(order.deliveries["inventory"].status, inventory);
        assert_eq!(order.deliveries["fulfillment"].status, fulfillment);
        assert_eq!(system.order(&order.order_id).await?, order);

        let again = system.post(&body, &headers).await?;
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
        assert_eq!(again.body, response.body);
    }
    Ok(())
}

async fn a_wait_that_times_out_returns_what_is_known_and_can_be_repeated(store: &Store) -> Result<()> {
    let system = store.builder().env(Role::Producer, "WAIT_MAX", "2s").start().await?;
    system.inventory_api.set_rule("waits", "hang".parse()?);
    let body = serde_json::to_vec(&order::Order::of("waits"))?;
    let response = system.post(&body, &[("prefer", "wait=3600")]).await?;
    assert_eq!(response.header("preference-applied"), Some("wait=2"));
    assert_eq!(response.expect::<Accepted>(202)?.status, OrderStatus::Pending);
    let placed = Placed::from_response(&response)?;
    system.inventory_api.set_rule("waits", "status-200".parse()?);
    let url = format!("{}{}", system.producer()?.url().await?, placed.location);
    let http = tests::http::client()?;
    let get = async |headers: &[(&str, &str)]| {
        let request = headers.iter().fold(http.get(&url), |request, (name, value)| request.header(*name, *value));
        anyhow::Ok(request.send().await?)
    };
    // It hangs until the worker's timeout, and is then attempted again with success.
    let (tag, settled) = loop {
        let shown = get(&[("prefer", "wait=2")]).await?;
        let tag = shown.headers()["etag"].to_str()?.to_owned();
        let order: Order = serde_json::from_slice(&shown.bytes().await?)?;
        if order.is_settled() {
            break (tag, order);
        }
    };
    assert_eq!(settled.status, OrderStatus::Delivered);
    assert_eq!(system.order(&placed.order_id).await?, settled);
    let unchanged = get(&[("if-none-match", &tag)]).await?;
    assert_eq!((unchanged.status().as_u16(), unchanged.bytes().await?.len()), (304, 0));
    Ok(())
}

async fn two_thousand_waiting_clients_each_get_their_result(store: &Store) -> Result<()> {
    patient(store.builder())
        .without_workers()
        .run(async |system| {
            let producer = system.producer()?;
            let waiting: Vec<_> = stream::iter(0..CLIENTS)
                .map(async |_| wait_for_result(producer, &order::Order::healthy()).await)
                .buffered(64)
                .try_collect()
                .await?;
            producer.wait_for_metric(WAITING, &[], |waiting| waiting == CLIENTS as f64).await?;
            // They cost a permit each, and the process serves other requests.
            assert_eq!(producer.readyz().await?.status, 200);
            for role in [Role::Inventory, Role::Fulfillment] {
                system.start_process(role, &[])?;
            }
            let responses: Vec<_> =
                stream::iter(waiting).map(response::<Order>).buffer_unordered(CLIENTS).try_collect().await?;
            let mut order_ids = HashSet::new();
            for (status, order) in responses {
                ensure!(status == 200 && order.status == OrderStatus::Delivered, "{status} {order:?}");
                order_ids.insert(order.order_id);
            }
            assert_eq!(order_ids.len(), CLIENTS, "each client got its own order");
            system.producer()?.wait_for_metric(WAITING, &[], |waiting| waiting == 0.0).await
        })
        .await
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_permit() -> Result<()> {
    let system = patient(System::builder()).without_workers().env(Role::Producer, "WAITERS", 1).start().await?;
    let producer = system.producer()?;
    let waiting = wait_for_result(producer, &order::Order::healthy()).await?;
    producer.wait_for_metric(WAITING, &[], |waiting| waiting == 1.0).await?;
    // All permits are taken, so the next client gets its response at once.
    let next = system.post(&serde_json::to_vec(&order::Order::healthy())?, &[("prefer", "wait=60")]).await?;
    assert_eq!((next.status, next.header("preference-applied")), (202, None));
    drop(waiting);
    producer.wait_for_metric(WAITING, &[], |waiting| waiting == 0.0).await
}

#[tokio::test]
async fn a_terminated_producer_responds_to_waiting_clients() -> Result<()> {
    let mut system = patient(System::builder()).without_workers().start().await?;
    let waiting = wait_for_result(system.producer()?, &order::Order::healthy()).await?;
    system.producer()?.wait_for_metric(WAITING, &[], |waiting| waiting == 1.0).await?;
    let producer = system.take(Role::Producer)?;
    producer.terminate()?;
    let (status, order) = response::<Accepted>(waiting).await?;
    assert_eq!((status, order.status), (202, OrderStatus::Pending.into()));
    let exit = Exit::of(&producer).await?;
    assert_eq!(exit.code, Some(0));
    assert!(!exit.says("cutting HTTP connections that did not finish in time"), "{}", exit.text());
    // The accepted order is stored.
    system.start_ready(Role::Producer).await?;
    assert_eq!(system.order(&order.order_id).await?.status, OrderStatus::Pending);
    Ok(())
}

#[tokio::test]
async fn waiting_reads_an_order_once_per_report_instead_of_polling() -> Result<()> {
    const WAIT: usize = 200;
    const LOOKS: &str = "tandem_http_looks_total";
    let mut system = patient(System::builder()).without_workers().start().await?;
    let waiting: Vec<_> = stream::iter(0..WAIT)
        .map(async |_| wait_for_result(system.producer()?, &order::Order::healthy()).await)
        .buffered(16)
        .try_collect()
        .await?;
    system.producer()?.wait_for_metric(WAITING, &[], |waiting| waiting == WAIT as f64).await?;
    system.start_ready(Role::Inventory).await?;
    system.inventory_api.wait_for_effects(WAIT as u64).await?;
    // However long it takes, one look for what one worker has reported, and none before.
    system.producer()?.wait_for_metric(LOOKS, &[], |looks| looks == WAIT as f64).await?;
    system.start_ready(Role::Fulfillment).await?;
    let responses: Vec<_> = stream::iter(waiting).map(response::<Order>).buffer_unordered(WAIT).try_collect().await?;
    ensure!(responses.iter().all(|(status, _)| *status == 200), "{responses:?}");
    let looks = system.metrics(Role::Producer).await?.sum(LOOKS, &[]);
    assert_eq!(looks, 2.0 * WAIT as f64);
    Ok(())
}
