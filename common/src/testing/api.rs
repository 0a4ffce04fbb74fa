//! An API on loopback that records requests and replies as configured, correctly or not.

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Barrier, watch},
    task::JoinSet,
};

use super::Request;

/// The size of a huge body: far more than fits into the buffers between two sockets.
pub(super) const HUGE_BODY_BYTES: usize = 32 * 1_024 * 1_024;

/// What the API does with a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Responds with this status and these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// Sends these bytes, and closes the connection.
    Bytes(&'static [u8]),
    /// Resets the connection.
    Reset,
    /// Responds with 200 and a body of [`HUGE_BODY_BYTES`].
    Huge,
    /// Sends these bytes, and then nothing more.
    Stall(&'static [u8]),
    /// Sends nothing.
    Silence,
    /// Responds with 200, once this many requests have arrived.
    Together(Arc<Barrier>),
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self::Status(status, Vec::new())
    }
}

/// The API. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Api {
    base: String,
    shared: Arc<Shared>,
    /// Dropping them ends them.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// How much of a huge body was sent, once that is over.
    huge_sent: watch::Sender<Option<usize>>,
}

#[derive(Debug)]
struct State {
    connections: usize,
    requests: Vec<Request>,
    reply: Reply,
}

impl Api {
    /// Starts an API that responds with 200.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let state = Mutex::new(State { connections: 0, requests: Vec::new(), reply: Reply::status(200) });
        let shared = Arc::new(Shared { state, huge_sent: watch::Sender::new(None) });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { base, shared, _tasks: tasks })
    }

    /// Its base address: scheme, host and port.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Replies like this from now on, and forgets earlier requests.
    pub(super) fn reply_with(&self, reply: Reply) {
        let mut state = self.shared.state();
        state.reply = reply;
        state.requests.clear();
    }

    /// Returns and forgets the requests so far.
    pub(super) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.state().requests)
    }

    /// How many connections there were, from the start.
    pub(super) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Waits until sending a huge body has ended, and returns how much of it was sent.
    pub(super) async fn huge_sent(&self) -> usize {
        let mut sent = self.shared.huge_sent.subscribe();
        // The sender lives as long as this.
        sent.wait_for(Option::is_some).await.map_or(0, |sent| sent.unwrap_or_default())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and returns the reply to it.
    fn record(&self, request: Request) -> Reply {
        let mut state = self.state();
        state.requests.push(request);
        state.reply.clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        shared.state().connections += 1;
        connections.spawn(async move {
            // A connection breaks because of the client, or on purpose.
            let _ = serve(&stream, &shared).await;
        });
    }
}

async fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    while let Some(request) = Request::read(stream).await? {
        match shared.record(request) {
            Reply::Status(status, headers) => write(stream, &head_and_body(status, &headers)).await?,
            Reply::Together(all) => {
                all.wait().await;
                write(stream, &head_and_body(200, &[])).await?;
            }
            Reply::Bytes(bytes) => return write(stream, bytes).await,
            Reply::Reset => return stream.set_zero_linger(),
            Reply::Huge => {
                let sent = huge(stream).await;
                shared.huge_sent.send_replace(Some(sent));
                return Ok(());
            }
            Reply::Stall(bytes) => {
                write(stream, bytes).await?;
                return std::future::pending().await;
            }
            Reply::Silence => std::future::pending().await,
        }
    }
    Ok(())
}

fn head_and_body(status: u16, headers: &[(&'static str, String)]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 {status} So\r\n");
    for (name, value) in headers {
        response.push_str(&format!("{name}: {value}\r\n"));
    }
    // These two never have a body.
    response.push_str(if matches!(status, 204 | 304) { "\r\n" } else { "Content-Length: 2\r\n\r\n{}" });
    response.into_bytes()
}

/// Sends a huge body until it is sent or the client stops reading; returns how much was sent.
async fn huge(stream: &TcpStream) -> usize {
    let chunk = [b' '; 64 * 1_024];
    let mut sent = 0;
    if write(stream, b"HTTP/1.1 200 So\r\n\r\n").await.is_ok() {
        while sent < HUGE_BODY_BYTES && write(stream, &chunk).await.is_ok() {
            sent += chunk.len();
        }
    }
    sent
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}
