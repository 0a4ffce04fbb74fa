//! A TCP proxy that does to a connection what networks do.

mod connection;
mod weather;

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

use self::{connection::connection, weather::Weather};
use crate::{
    ports::Port,
    waiting::{PATIENCE, within},
};

const RETRY: Duration = Duration::from_millis(20);
const BACKLOG: u32 = 1_024;

/// A proxy in front of one address, in a thread of its own. It forwards until told otherwise; the faults add up, and
/// [`FaultProxy::heal`] ends them all. Dropping it resets all connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// The number of the last change that the listener has seen.
    applied: watch::Receiver<u64>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
    _port: Port,
}

/// What has passed, as evidence that a fault hit something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Connections accepted.
    pub connections: u64,
    /// Of those, open now.
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
        let (weather, forecast) = watch::channel(Weather::default());
        let (apply, applied) = watch::channel(0);
        let counters = Arc::new(Counters::default());
        let (upstream, counting) = (upstream.to_owned(), Arc::clone(&counters));
        let run = move || {
            runtime.block_on(async {
                // Without a listener it dies here, and says so at the first change.
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                serve(listener, address, &upstream, forecast, &apply, &counting).await;
            });
        };
        let thread =
            thread::Builder::new().name("fault-proxy".to_owned()).spawn(run).context("cannot start a thread")?;
        Ok(Self { address, weather, applied, counters, thread: Some(thread), _port: port })
    }

    /// Where to connect instead of the server itself.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all connections; new ones are taken.
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn cut(&self) -> Result<()> {
        self.change(|weather| weather.cut = weather.change).await
    }

    /// Takes no new connections: they are refused. Open ones go on.
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn refuse(&self) -> Result<()> {
        self.change(|weather| weather.refuse = true).await
    }

    /// The server is gone: resets all connections and refuses new ones.
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn down(&self) -> Result<()> {
        self.change(|weather| {
            weather.cut = weather.change;
            weather.refuse = true;
        })
        .await
    }

    /// Nothing gets through any more in either direction, and nobody is told; new connections are taken, and
    /// swallowed too. As after a network partition, what was under way arrives after [`FaultProxy::heal`].
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn black_hole(&self) -> Result<()> {
        self.change(|weather| weather.black_hole = true).await
    }

    /// Nothing of what clients send gets through, while what the server sends does.
    ///
    /// # Errors
    /// The proxy is dead.
    pub async fn mute(&self) -> Result<()> {
        self.change(|weather| weather.mute = true).await
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// The proxy is dead, or its port was taken meanwhile.
    pub async fn heal(&self) -> Result<()> {
        self.change(|weather| *weather = Weather { change: weather.change, cut: weather.cut, ..Weather::default() })
            .await
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

    /// Returns when the listener and all connections have taken note.
    async fn change(&self, change: impl FnOnce(&mut Weather)) -> Result<()> {
        let mut number = 0;
        self.weather.send_modify(|weather| {
            weather.change += 1;
            number = weather.change;
            change(weather);
        });
        let mut applied = self.applied.clone();
        let seen = || format!("{:?}", self.evidence());
        within("the proxy to take note", PATIENCE, applied.wait_for(|applied| *applied >= number), seen)
            .await?
            .context("the proxy is dead")?;
        Ok(())
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.weather.send_modify(|weather| weather.end = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // The connections of before linger on this port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    upstream: &str,
    mut weather: watch::Receiver<Weather>,
    applied: &watch::Sender<u64>,
    counters: &Arc<Counters>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    let mut done = 0;
    loop {
        let now = weather.borrow_and_update().clone();
        if now.end {
            return;
        }
        if now.refuse {
            listener = None;
        } else if listener.is_none() {
            match listen(address) {
                Ok(new) => listener = Some(new),
                // Somebody's short visit to our port: nothing is applied until it is ours again.
                Err(_) => {
                    sleep(RETRY).await;
                    continue;
                }
            }
        }
        if now.cut > done {
            // A cut is done when the connections of before are gone; later ones are not there yet.
            while connections.join_next().await.is_some() {}
            done = now.cut;
        }
        applied.send_replace(now.change);
        tokio::select! {
            changed = weather.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accept(listener.as_ref()) => match accepted {
                Ok(client) => {
                    counters.connections.fetch_add(1, Relaxed);
                    let (upstream, weather, counters) = (upstream.to_owned(), weather.clone(), Arc::clone(counters));
                    let born = now.change;
                    connections.spawn(async move {
                        counters.open.fetch_add(1, Relaxed);
                        connection(client, &upstream, weather, born, &counters).await;
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
