//! A TCP proxy that can do to connections what networks do.

mod connection;
mod faults;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use self::{connection::connection, faults::Faults};
use crate::{
    ports::Port,
    waiting::{PATIENCE, within},
};

const RETRY: Duration = Duration::from_millis(20);
const BACKLOG: u32 = 1_024;

/// A proxy in front of one address, in its own thread. It forwards everything at first; faults add up, and
/// [`FaultProxy::heal`] ends them all. Dropping it resets all connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    /// The number of the last change that was applied.
    applied: watch::Receiver<u64>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
    _port: Port,
}

/// What has passed, as evidence that a fault had an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Connections accepted.
    pub connections: u64,
    /// How many of them are open now.
    pub open: u64,
    /// Bytes forwarded from the clients to the server.
    pub bytes_up: u64,
    /// Bytes forwarded from the server to the clients.
    pub bytes_down: u64,
    /// Connections that were reset on purpose.
    pub cuts: u64,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    open: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    cuts: AtomicU64,
}

impl FaultProxy {
    /// A proxy on a port of 127.0.0.1 in front of `upstream`, which is `host:port`.
    ///
    /// # Errors
    /// No port, no thread.
    pub fn start(upstream: &str) -> Result<Self> {
        let port = Port::choose()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let (faults, current) = watch::channel(Faults::default());
        let (apply, applied) = watch::channel(0);
        let counters = Arc::new(Counters::default());
        let (upstream, counting) = (upstream.to_owned(), Arc::clone(&counters));
        let run = move || {
            runtime.block_on(async {
                // Without a listener it ends here, and the first change fails.
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                serve(listener, address, &upstream, current, &apply, &counting).await;
            });
        };
        let thread =
            thread::Builder::new().name("fault-proxy".to_owned()).spawn(run).context("cannot start a thread")?;
        Ok(Self { address, faults, applied, counters, thread: Some(thread), _port: port })
    }

    /// Where to connect instead of the server itself.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all connections, and accepts new ones.
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn cut(&self) -> Result<()> {
        self.change(|faults| faults.cut = faults.change).await
    }

    /// Refuses new connections. Open ones go on.
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn refuse(&self) -> Result<()> {
        self.change(|faults| faults.refuse = true).await
    }

    /// Resets all connections and refuses new ones, as if the server were gone.
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn down(&self) -> Result<()> {
        self.change(|faults| {
            faults.cut = faults.change;
            faults.refuse = true;
        })
        .await
    }

    /// Silently holds back all data in both directions; new connections are accepted and held back too. As after a
    /// network partition, the data arrives after [`FaultProxy::heal`].
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn black_hole(&self) -> Result<()> {
        self.change(|faults| faults.black_hole = true).await
    }

    /// Holds back what clients send, and forwards what the server sends.
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn mute(&self) -> Result<()> {
        self.change(|faults| faults.mute = true).await
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// The proxy is dead, or its port was taken in the meantime.
    pub async fn heal(&self) -> Result<()> {
        self.change(|faults| *faults = Faults { change: faults.change, cut: faults.cut, ..Faults::default() }).await
    }

    /// What has passed so far.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        let counters = &self.counters;
        Evidence {
            connections: counters.connections.load(Relaxed),
            open: counters.open.load(Relaxed),
            bytes_up: counters.bytes_up.load(Relaxed),
            bytes_down: counters.bytes_down.load(Relaxed),
            cuts: counters.cuts.load(Relaxed),
        }
    }

    /// Returns when the change applies to the listener and all connections.
    async fn change(&self, change: impl FnOnce(&mut Faults)) -> Result<()> {
        let mut number = 0;
        self.faults.send_modify(|faults| {
            faults.change += 1;
            number = faults.change;
            change(faults);
        });
        let mut applied = self.applied.clone();
        let seen = || format!("{:?}", self.evidence());
        within("the proxy to apply a change", PATIENCE, applied.wait_for(|applied| *applied >= number), seen)
            .await?
            .context("the proxy is dead")?;
        Ok(())
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.faults.send_modify(|faults| faults.end = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Earlier connections linger on this port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    upstream: &str,
    mut faults: watch::Receiver<Faults>,
    applied: &watch::Sender<u64>,
    counters: &Arc<Counters>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    let mut done = 0;
    loop {
        let now = faults.borrow_and_update().clone();
        if now.end {
            return;
        }
        if now.refuse {
            listener = None;
        } else if listener.is_none() {
            match listen(address) {
                Ok(new) => listener = Some(new),
                // Another process has the port for a moment: nothing is applied until it is free again.
                Err(_) => {
                    sleep(RETRY).await;
                    continue;
                }
            }
        }
        if now.cut > done {
            // A cut is complete when all earlier connections are gone; there are no later ones yet.
            while connections.join_next().await.is_some() {}
            done = now.cut;
        }
        applied.send_replace(now.change);
        tokio::select! {
            changed = faults.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accept(listener.as_ref()) => match accepted {
                Ok(client) => {
                    counters.connections.fetch_add(1, Relaxed);
                    let (upstream, faults, counters) = (upstream.to_owned(), faults.clone(), Arc::clone(counters));
                    let born = now.change;
                    connections.spawn(async move {
                        counters.open.fetch_add(1, Relaxed);
                        connection(client, &upstream, faults, born, &counters).await;
                        counters.open.fetch_sub(1, Relaxed);
                    });
                }
                Err(_) => sleep(RETRY).await,
            },
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}
