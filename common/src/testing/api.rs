//! An API on loopback that remembers what it was asked and answers as it is told, well or badly.

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

/// The size of a huge answer. Far more than the buffers between two sockets, so that one that is not read
/// does not fit into them.
pub(super) const HUGE_ANSWER_BYTES: usize = 32 * 1_024 * 1_024;

/// How requests are answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// In good order, by this status and these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// By these bytes, whatever they are, and the end of the connection.
    Bytes(&'static [u8]),
    /// By a reset of the connection.
    Reset,
    /// By a 200 with a body of [`HUGE_ANSWER_BYTES`].
    Huge,
    /// By these bytes, and then nothing more.
    Stall(&'static [u8]),
    /// Not at all.
    Silence,
    /// By a 200, once this many requests are here.
    Together(Arc<Barrier>),
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        Self::Status(status, Vec::new())
    }
}

/// An API. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Api {
    base: String,
    desk: Arc<Desk>,
    /// Ended by being dropped.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Desk {
    state: Mutex<State>,
    /// How much of a huge answer went out, once that is over.
    huge_sent: watch::Sender<Option<usize>>,
}

#[derive(Debug)]
struct State {
    connections: usize,
    requests: Vec<Request>,
    answer: Answer,
}

impl Api {
    /// Starts an API that answers 200.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let state = Mutex::new(State { connections: 0, requests: Vec::new(), answer: Answer::status(200) });
        let desk = Arc::new(Desk { state, huge_sent: watch::Sender::new(None) });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&desk)));
        Ok(Self { base, desk, _tasks: tasks })
    }

    /// Its base address: scheme, host and port.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Answers so from now on, and forgets what it was asked before.
    pub(super) fn answer_by(&self, answer: Answer) {
        let mut state = self.desk.state();
        state.answer = answer;
        state.requests.clear();
    }

    /// Hands out what it was asked.
    pub(super) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.desk.state().requests)
    }

    /// How many connections were made to it, from the start.
    pub(super) fn connections(&self) -> usize {
        self.desk.state().connections
    }

    /// Waits until a huge answer has ended and tells how much of it went out.
    pub(super) async fn huge_sent(&self) -> usize {
        let mut sent = self.desk.huge_sent.subscribe();
        // The sender lives as long as this.
        sent.wait_for(Option::is_some).await.map_or(0, |sent| sent.unwrap_or_default())
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a request and tells how it is to be answered.
    fn take(&self, request: Request) -> Answer {
        let mut state = self.state();
        state.requests.push(request);
        state.answer.clone()
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let desk = Arc::clone(&desk);
        desk.state().connections += 1;
        connections.spawn(async move {
            // A connection that breaks is the client's doing, or ours on purpose.
            let _ = serve(&stream, &desk).await;
        });
    }
}

async fn serve(stream: &TcpStream, desk: &Desk) -> io::Result<()> {
    while let Some(request) = Request::read(stream).await? {
        match desk.take(request) {
            Answer::Status(status, headers) => write(stream, &head_and_body(status, &headers)).await?,
            Answer::Together(all) => {
                all.wait().await;
                write(stream, &head_and_body(200, &[])).await?;
            }
            Answer::Bytes(bytes) => return write(stream, bytes).await,
            Answer::Reset => return stream.set_zero_linger(),
            Answer::Huge => {
                let sent = huge(stream).await;
                desk.huge_sent.send_replace(Some(sent));
                return Ok(());
            }
            Answer::Stall(bytes) => {
                write(stream, bytes).await?;
                return std::future::pending().await;
            }
            Answer::Silence => std::future::pending().await,
        }
    }
    Ok(())
}

fn head_and_body(status: u16, headers: &[(&'static str, String)]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status} So\r\n");
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    // These two have no body, whatever is said.
    answer.push_str(if matches!(status, 204 | 304) { "\r\n" } else { "Content-Length: 2\r\n\r\n{}" });
    answer.into_bytes()
}

/// Writes a huge answer until it is written or nobody wants it any more; returns how much of it went out.
async fn huge(stream: &TcpStream) -> usize {
    let chunk = [b' '; 64 * 1_024];
    let mut sent = 0;
    if write(stream, b"HTTP/1.1 200 So\r\n\r\n").await.is_ok() {
        while sent < HUGE_ANSWER_BYTES && write(stream, &chunk).await.is_ok() {
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
