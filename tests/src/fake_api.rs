//! Both downstream APIs, made for observation: they keep to the contract, honour idempotency keys, misbehave on request
//! and record every call.
//!
//! In the process of a test ([`FakeApi`]) or as the binary `fake-api`.

mod server;
mod request;
mod behaviour;
mod reply;
mod journal;
mod memory;
mod record;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{net::TcpListener, sync::oneshot};

pub use self::{
    behaviour::{Behaviour, CONVENTION, Mode},
    record::{Call, Ended, Summary},
    request::Api,
    server::{Server, bind},
};
use crate::waiting::{PATIENCE, within};
use journal::Journal;

/// How a fake is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What `X-Partner-Auth` must be on `POST /api/new_order`; if absent, anything that is not empty.
    pub token: Option<String>,
    /// A file to append every call to, one JSON object per line.
    pub log: Option<PathBuf>,
    /// Keeps only counters and first times, no single calls: for benchmarks.
    pub counters_only: bool,
    /// Keeps at most this many calls, the newest; all if absent.
    pub keep_calls: Option<usize>,
    /// The mode at the start.
    pub mode: Mode,
    /// The seed of [`Mode::Random`].
    pub seed: u64,
}

/// A fake in this process, in its own thread: a test that blocks does not delay its responses.
///
/// Dropping it cuts all connections.
#[derive(Debug)]
pub struct FakeApi {
    address: SocketAddr,
    journal: Arc<Journal>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeApi {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port, no thread, or the log cannot be opened.
    pub fn start(options: Options) -> Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), options)
    }

    /// Starts one on this address, to bring an API back where it was.
    ///
    /// # Errors
    /// As [`FakeApi::start`].
    pub fn start_at(address: SocketAddr, options: Options) -> Result<Self> {
        let journal = Arc::new(Journal::open(options)?);
        let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let server = Arc::clone(&journal);
        let run = move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = server::serve(listener, server) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("fake-api".to_owned()).spawn(run).context("cannot start a thread")?;
        Ok(Self { address, journal, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, orders with this product are treated like this.
    pub fn set_rule(&self, product_id: &str, behaviour: Behaviour) {
        self.journal.set_rule(product_id, behaviour);
    }

    /// From now on, it treats all calls like this. Calls that hang go on hanging.
    pub fn set_mode(&self, mode: Mode) {
        self.journal.set_mode(mode);
    }

    /// All calls so far, in the order of their arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.journal.calls(None)
    }

    /// The calls about one order so far, in the order of their arrival.
    #[must_use]
    pub fn calls_about(&self, order_id: &str) -> Vec<Call> {
        self.journal.calls(Some(order_id))
    }

    /// Counts of everything so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.journal.summary()
    }

    /// Waits until there have been this many calls about the order, and returns them. Cancellation safe.
    ///
    /// # Errors
    /// There are fewer in time.
    pub async fn wait_for_calls(&self, order_id: &str, count: usize) -> Result<Vec<Call>> {
        let what = format!("{count} calls about order {order_id}");
        self.wait_until(&what, PATIENCE, |fake| fake.journal.count_about(order_id) >= count).await?;
        Ok(self.calls_about(order_id))
    }

    /// Waits until this many keys have had their effect. Cancellation safe.
    ///
    /// # Errors
    /// There are fewer in time.
    pub async fn wait_for_effects(&self, count: u64) -> Result<()> {
        self.wait_until(&format!("{count} effects"), PATIENCE, |fake| fake.summary().effects >= count).await
    }

    /// Waits until the condition holds, which is checked after every call. Cancellation safe.
    ///
    /// # Errors
    /// It does not hold when the deadline has passed.
    pub async fn wait_until(&self, what: &str, deadline: Duration, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let reached = self.journal.wait_until(|_| holds(self));
        within(what, deadline, reached, || format!("{:?}", self.summary())).await
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
