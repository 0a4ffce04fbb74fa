//! The fake APIs: they accept every order at once and write the call into the book.

use std::{fs, net::Ipv4Addr, path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpListener, sync::oneshot};
use uuid::Uuid;

use super::book::{API_COUNT, Book};

/// Both APIs, on a thread of their own. Dropping them ends the thread.
#[derive(Debug)]
pub(super) struct FakeApis {
    listeners: [std::net::TcpListener; API_COUNT],
    /// Where the kernel shows the CPU time of the thread.
    schedstat: PathBuf,
    _stop: oneshot::Sender<()>,
}

#[derive(Deserialize)]
struct Call {
    order_id: Uuid,
}

impl FakeApis {
    /// Starts them on free ports.
    ///
    /// # Errors
    /// No port or no thread.
    pub(super) fn start(book: Arc<Book>) -> Result<Self> {
        let bind = || {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for a fake API")?;
            listener.set_nonblocking(true)?;
            Ok::<_, anyhow::Error>(listener)
        };
        let listeners = [bind()?, bind()?];
        let [inventory, fulfillment] = &listeners;
        let served = [inventory.try_clone()?, fulfillment.try_clone()?];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (send_name, name) = std::sync::mpsc::channel();
        thread::Builder::new().name("fake-apis".to_owned()).spawn(move || {
            let _ = send_name.send(fs::read_link("/proc/thread-self"));
            let serve = async {
                tokio::select! {
                    fault = serve(served, &book) => eprintln!("the fake APIs have ended: {fault:?}"),
                    _ = stopped => {}
                }
            };
            runtime.block_on(serve);
        })?;
        let schedstat = PathBuf::from("/proc").join(name.recv()??).join("schedstat");
        Ok(Self { listeners, schedstat, _stop: stop })
    }

    /// Their base URLs.
    pub(super) fn urls(&self) -> Result<[String; API_COUNT]> {
        let [inventory, fulfillment] = &self.listeners;
        Ok([format!("http://{}", inventory.local_addr()?), format!("http://{}", fulfillment.local_addr()?)])
    }

    /// CPU time of the thread.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let text = fs::read_to_string(&self.schedstat)?;
        // The first number is the time on a processor, in nanoseconds.
        let nanos = text.split_ascii_whitespace().next().context("no CPU time")?;
        Ok(Duration::from_nanos(nanos.parse()?))
    }
}

async fn serve(listeners: [std::net::TcpListener; API_COUNT], book: &Arc<Book>) -> Result<()> {
    let [inventory, fulfillment] = listeners;
    tokio::try_join!(accept(inventory, 0, book), accept(fulfillment, 1, book))?;
    Ok(())
}

async fn accept(listener: std::net::TcpListener, destination: usize, book: &Arc<Book>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let book = Arc::clone(book);
        let service = service_fn(move |request| respond(request, destination, Arc::clone(&book)));
        // A connection that breaks belongs to a worker that has ended.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn respond(
    request: Request<Incoming>,
    destination: usize,
    book: Arc<Book>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let Ok(Call { order_id }) = serde_json::from_slice(&body) else {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    book.called(order_id, destination, head.headers.get("idempotency-key").map(|key| key.as_bytes()));
    Ok(Response::new(Full::from(Bytes::from_static(b"{}"))))
}
