//! The fake APIs: they accept every order at once and write it into the book.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::{
    book::{Book, DESTINATIONS},
    wire::Reader,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
const NOT_AN_ORDER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

/// One listener for each API.
#[derive(Debug)]
pub(super) struct Apis {
    listeners: [std::net::TcpListener; DESTINATIONS],
}

impl Apis {
    /// Takes a port for each.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn bind() -> Result<Self> {
        let bind = || {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for a fake API")?;
            listener.set_nonblocking(true)?;
            Ok::<_, anyhow::Error>(listener)
        };
        Ok(Self { listeners: [bind()?, bind()?] })
    }

    /// Their base URLs.
    pub(super) fn urls(&self) -> Result<Vec<String>> {
        self.listeners.iter().map(|listener| Ok(format!("http://{}", listener.local_addr()?))).collect()
    }

    /// Serves for ever.
    pub(super) async fn serve(self, book: Book) -> Result<()> {
        let [one, other] = self.listeners;
        let (one, other) = (TcpListener::from_std(one)?, TcpListener::from_std(other)?);
        let (one, other) = tokio::join!(accept(one, 0, book.clone()), accept(other, 1, book));
        one.and(other)
    }
}

async fn accept(listener: TcpListener, destination: usize, book: Book) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let book = book.clone();
        tokio::spawn(async move {
            // A connection that breaks is a worker that left.
            let _ = serve(stream, destination, book).await;
        });
    }
}

async fn serve(mut stream: TcpStream, destination: usize, book: Book) -> Result<()> {
    let mut reader = Reader::default();
    while let Some(request) = reader.next(&mut stream).await? {
        match request.order_id() {
            Some(order) => {
                book.told(order, destination, request.header("idempotency-key"));
                stream.write_all(OK).await?;
            }
            None => stream.write_all(NOT_AN_ORDER).await?,
        }
    }
    Ok(())
}
