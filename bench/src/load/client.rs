//! One client of the producer, on a connection that it keeps.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use uuid::Uuid;

use super::Target;

/// A client of the producer.
#[derive(Debug)]
pub(super) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    /// Sets the keys of this client apart from those of any other run.
    run: Option<u128>,
}

/// What the producer made of an order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Response {
    Accepted(Uuid),
    /// Status 503: try again later.
    Refused,
}

#[derive(Deserialize)]
struct Acceptance {
    order_id: Uuid,
}

impl Client {
    pub(super) async fn connect(target: Target) -> Result<Self> {
        let Target { producer, keys }: Target = target;
        let stream = TcpStream::connect(producer).await.context("cannot connect to the producer")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with its sender, or with the connection; the next request then fails and says why.
        tokio::spawn(connection);
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok(Self { sender, host: SocketAddr::to_string(&producer), run: keys.then(now) })
    }

    /// Whether the connection can take another request: the producer closes one that is idle for long.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Places the order with this number, and reads the response.
    ///
    /// # Errors
    /// Any response other than 202 and 503, or a broken connection.
    pub(super) async fn place(&mut self, number: u64) -> Result<Response> {
        let mut request = Request::post("/v1/orders").header("host", &self.host);
        if let Some(run) = self.run {
            request = request.header("idempotency-key", format!("\"{run:x}-{number}\""));
        }
        let request = request.header("content-type", "application/json").body(Full::from(order(number)))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        match status {
            StatusCode::ACCEPTED => {
                let Acceptance { order_id } = serde_json::from_slice(&body).context("a 202 without order_id")?;
                Ok(Response::Accepted(order_id))
            }
            StatusCode::SERVICE_UNAVAILABLE => Ok(Response::Refused),
            _ => bail!("the producer responded {status}: {}", String::from_utf8_lossy(&body)),
        }
    }
}

/// Two lines, as a small order has; its event has about 400 bytes.
fn order(number: u64) -> String {
    format!(
        r#"{{"customer_id":"customer-{:05}","items":[{{"product_id":"product-{:04}","qty":{}}},{{"product_id":"product-{:04}","qty":1}}]}}"#,
        number % 50_000,
        number % 1_000,
        number % 9 + 1,
        number * 7 % 1_000,
    )
}
