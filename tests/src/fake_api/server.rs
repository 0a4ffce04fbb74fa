//! The HTTP server of the fake, on hyper directly, because a reply may be a reset connection.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request as HttpRequest, Response, header},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};

use super::{
    Api, Options,
    journal::Journal,
    reply::{Kind, Reply},
    request::Request,
};

/// No service sends a larger body.
const LARGEST_BODY: usize = 1024 * 1024;
const HUGE_CHUNK: &[u8] = &[b'x'; 64 * 1024];
const HUGE_CHUNKS: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A fake that has its address and does not serve yet, for the binary.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    journal: Arc<Journal>,
}

/// Binds the address.
///
/// # Errors
/// It cannot be bound, or the log cannot be opened.
pub async fn bind(address: SocketAddr, options: Options) -> anyhow::Result<Server> {
    let listener = TcpListener::bind(address).await?;
    Ok(Server { listener, journal: Arc::new(Journal::open(options)?) })
}

impl Server {
    /// The bound address, with its port.
    ///
    /// # Errors
    /// The system call fails.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves indefinitely; dropping the future cuts all connections when the runtime ends.
    pub async fn run(self) {
        serve(self.listener, self.journal).await;
    }
}

/// The connection is to be reset instead of a response.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection cut on purpose")
    }
}

impl std::error::Error for Cut {}

pub(super) async fn serve(listener: TcpListener, journal: Arc<Journal>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&journal)));
            }
            // Most likely no file descriptor is free, which takes time to pass.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, journal: Arc<Journal>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| respond(request, &journal));
    let mut connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let ended = (&mut connection).await;
    let cut =
        ended.is_err_and(|fault| std::error::Error::source(&fault).is_some_and(<dyn std::error::Error>::is::<Cut>));
    if cut {
        // With no time to linger, closing sends a reset.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn respond(request: HttpRequest<Incoming>, journal: &Journal) -> Result<Response<Body>, Cut> {
    let path = request.uri().path().to_owned();
    if let Some(api) = Api::at(&path) {
        let (head, body) = request.into_parts();
        let Ok(body) = to_bytes(Body::new(body), LARGEST_BODY).await else {
            return Ok(plain(413, "the body is too large"));
        };
        let request = Request { api, method: head.method, headers: head.headers, body };
        let reply = journal.receive(&request);
        return send(reply).await;
    }
    if path == "/redirected" {
        journal.redirect_followed();
        return Ok(plain(200, "followed"));
    }
    Ok(administer(request, &path, journal).await)
}

async fn send(reply: Reply) -> Result<Response<Body>, Cut> {
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    Ok(match reply.kind {
        Kind::Status(status @ 200..300) => json(status, &serde_json::json!({"status": "done"})),
        Kind::Status(status) => json(status, &serde_json::json!({"error": "as asked for"})),
        Kind::TooManyRequests { retry_after } => {
            with(plain(429, "later"), header::RETRY_AFTER, &retry_after.to_string())
        }
        Kind::Redirect => with(plain(307, "elsewhere"), header::LOCATION, "/redirected"),
        Kind::HugeBody => Response::new(Body::from_stream(
            stream::repeat(Ok::<_, Infallible>(Bytes::from_static(HUGE_CHUNK))).take(HUGE_CHUNKS),
        )),
        Kind::Hang => std::future::pending().await,
        Kind::Cut { .. } => return Err(Cut),
    })
}

/// The endpoints for observers.
async fn administer(request: HttpRequest<Incoming>, path: &str, journal: &Journal) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match (request.method(), path) {
        (&Method::GET, "/healthz") => plain(200, "ok"),
        (&Method::GET, "/summary") => json(200, &journal.summary()),
        (&Method::GET, "/calls") => json(200, &journal.calls(parameter("order_id"))),
        (&Method::GET, "/first-times") => plain(200, journal.first_times()),
        (&Method::GET, "/wait") => {
            let Some(effects) = parameter("effects").and_then(|count| count.parse().ok()) else {
                return plain(400, "effects=NUMBER is missing");
            };
            journal.wait_until(|journal| journal.summary().effects >= effects).await;
            json(200, &journal.summary())
        }
        (&Method::GET, "/mode") => plain(200, journal.mode().to_string()),
        (&Method::PUT, "/mode") => {
            let body = to_bytes(Body::new(request.into_body()), LARGEST_BODY).await.unwrap_or_default();
            match String::from_utf8_lossy(&body).trim().parse() {
                Ok(mode) => {
                    journal.set_mode(mode);
                    plain(200, mode.to_string())
                }
                Err(fault) => plain(400, fault.to_string()),
            }
        }
        _ => plain(404, "nothing is here"),
    }
}

fn plain(status: u16, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status.try_into().unwrap_or_default();
    response
}

fn json(status: u16, value: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    with(plain(status, body), header::CONTENT_TYPE, "application/json")
}

fn with(mut response: Response<Body>, name: header::HeaderName, value: &str) -> Response<Body> {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
    response
}
