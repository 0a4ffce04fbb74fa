//! An API with scripted replies, for what the real one cannot be made to do at a given moment.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method and target.
    pub(crate) line: String,
    /// With names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A reply.
pub(crate) enum Reply {
    /// Status, content type and body.
    Full(u16, &'static str, String),
    /// A stream that breaks off after this.
    BrokenStream(String),
    /// Nothing: the connection is closed.
    Nothing,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::Full(status, "application/json", body.to_string())
    }
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// The API, which ends when it is dropped.
pub(crate) struct Scripted {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    server: JoinHandle<()>,
}

impl Scripted {
    /// Replies to each request by `script`, which gets the number of earlier requests.
    pub(crate) async fn start(script: impl Fn(usize, &Request) -> Reply + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&seen);
        let server = tokio::spawn(async move {
            // One after the other, as they come, each on its own connection.
            while let Ok((mut stream, _)) = listener.accept().await {
                let Ok(request) = read(&mut stream).await else { continue };
                let number = requests.lock().unwrap_or_else(PoisonError::into_inner).len();
                requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                let text = match script(number, &request) {
                    Reply::Nothing => continue,
                    Reply::Full(status, kind, body) => format!(
                        "HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\nx-correlation-id: c-7\r\n\
                         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    ),
                    Reply::BrokenStream(body) => format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\
                         transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
                        body.len()
                    ),
                };
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Ok(Self { address, seen, server })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn read(stream: &mut TcpStream) -> Result<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        anyhow::ensure!(stream.read_buf(&mut bytes).await? > 0, "the client left");
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(Ok(0), |(_, value)| value.parse())?;
    while bytes.len() < end + length {
        anyhow::ensure!(stream.read_buf(&mut bytes).await? > 0, "the client left");
    }
    let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    Ok(Request { line, headers, body })
}
