//! An HTTP/1.1 server with limits on connections, request heads and the drain.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::open_files;

/// The most connections at a time, if the limit on open files allows twice as many. Further ones wait in
/// the kernel's queue.
const MAX_CONNECTIONS: u64 = 4_096;
/// How long a client may take to send a request head, or keep a connection idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1_024;
/// The pause after a failed accept: a lack of file descriptors does not go away within microseconds.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    http_addr: SocketAddr,
}

/// Binds the address.
///
/// # Errors
/// The address cannot be bound; the message names it.
pub async fn bind(http_addr: SocketAddr) -> io::Result<Server> {
    let named =
        |fault: io::Error| io::Error::new(fault.kind(), format!("HTTP_ADDR: cannot listen on {http_addr}: {fault}"));
    let listener = TcpListener::bind(http_addr).await.map_err(named)?;
    let http_addr = listener.local_addr().map_err(named)?;
    Ok(Server { listener, http_addr })
}

impl Server {
    /// The bound address, with its port.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Serves until `shutdown`, then lets running requests finish for at most `grace`.
    ///
    /// Not cancellation safe: dropping it closes every connection.
    pub async fn run(self, router: Router, shutdown: CancellationToken, grace: Duration) {
        tracing::info!(http_addr = %self.http_addr, "listening");
        let permits = Arc::new(Semaphore::new(max_connections(open_files::limit())));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.accept(&permits) => match accepted {
                    Ok((stream, permit)) => {
                        let connection = serve_connection(stream, router.clone(), shutdown.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(permit);
                        });
                    }
                    Err(fault) => {
                        tracing::warn!(%fault, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        let left = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, left).await.is_err() {
            tracing::warn!(connections = connections.len(), "cutting HTTP connections that did not finish in time");
        }
    }

    async fn accept(&self, permits: &Arc<Semaphore>) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        // This fails if the client has already disconnected, which the first read shows.
        let _ = stream.set_nodelay(true);
        Ok((stream, permit))
    }
}

/// Half of the open files that are allowed: the rest is for the store, the broker and calls.
fn max_connections(open_files: u64) -> usize {
    usize::try_from((open_files / 2).clamp(1, MAX_CONNECTIONS)).unwrap_or(1)
}

async fn serve_connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        // Usually caused by the client: it disconnected, or it sent something other than HTTP.
        tracing::debug!(%fault, "connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_open_files_to_others() {
        for (open_files, connections) in [(1, 1), (1_024, 512), (4_096, 2_048), (20_000, 4_096), (u64::MAX, 4_096)] {
            assert_eq!(max_connections(open_files), connections, "{open_files}");
        }
    }
}
