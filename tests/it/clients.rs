//! Many clients at once.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use serde_json::json;
use tests::{
    system::{Role, System},
    waiting::{PATIENCE, within},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How many connections are made at a time.
const AT_A_TIME: usize = 100;

#[tokio::test]
async fn two_thousand_connected_clients_are_served_despite_a_soft_limit_of_1024() -> Result<()> {
    const CLIENTS: usize = 2_000;
    common::open_files::raise();
    if common::open_files::limit() < 3 * CLIENTS as u64 {
        eprintln!("skipped: the hard limit on open files is {}", common::open_files::limit());
        return Ok(());
    }
    let system = System::builder().without_workers().env(Role::Producer, "INTAKE_QUEUE", CLIENTS).start().await?;
    let address = system.producer()?.http_addr().await?;
    let body = json!({"customer_id": "c", "items": [{"product_id": "healthy", "qty": 1}]}).to_string();
    let length = body.len();
    let head =
        format!("POST /v1/orders HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: {length}");
    let request = format!("{head}\r\n\r\n{body}");

    let connected: Vec<TcpStream> =
        stream::iter(0..CLIENTS).map(|_| connect(address)).buffer_unordered(AT_A_TIME).try_collect().await?;
    let served = try_join_all(connected.into_iter().map(|client| place(client, &request)));
    let seen = || "some were not".to_owned();
    // All stay connected until the last one has its response.
    let connected = within("2,000 clients to be served", PATIENCE, served, seen).await??;
    assert_eq!(connected.len(), CLIENTS);
    let metrics = system.metrics(Role::Producer).await?;
    assert_eq!(metrics.sum("tandem_orders_total", &[("result", "accepted")]), 2_000.0);
    Ok(())
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    within("a connection", PATIENCE, TcpStream::connect(address), || "none".to_owned()).await?.map_err(Into::into)
}

/// Sends the request, reads the head of the response, and keeps the connection.
async fn place(mut client: TcpStream, request: &str) -> Result<TcpStream> {
    client.write_all(request.as_bytes()).await?;
    let mut response = vec![0; 4_096];
    let mut read = 0;
    while !response[..read].windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut response[read..]).await? {
            0 => bail!("cut after {:?}", String::from_utf8_lossy(&response[..read])),
            more => read += more,
        }
    }
    let response = String::from_utf8_lossy(&response[..read]);
    ensure!(response.starts_with("HTTP/1.1 202 "), "{response}");
    Ok(client)
}
