//! The system that is measured: the release binaries, on a database and an exchange of their own.

use std::{
    ffi::OsString,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ::tests::{
    postgres::Database,
    process::{Process, Program},
    queues::Queues,
};
use anyhow::{Context as _, Result, bail};
use common::broker::topology::{Names, dead_letter_queue};
use serde::{Deserialize, Serialize};

/// Who is told of every order, by name; the fake APIs are in this order.
pub(super) const DESTINATIONS: [&str; 2] = ["inventory", "fulfillment"];
/// The binaries of a system, the producer first.
pub(super) const BINARIES: [&str; 3] = ["producer", "worker-inventory", "worker-fulfillment"];

const READY_DEADLINE: Duration = Duration::from_secs(30);
const READY_PAUSE: Duration = Duration::from_millis(1);
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// How systems of one database and exchange are started.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// The directory of the binaries.
    pub(super) binaries: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) exchange: String,
    pub(super) amqp_url: String,
    pub(super) apis: [String; 2],
    /// A database on a server; otherwise a file in the directory.
    pub(super) database: Option<Arc<Database>>,
}

/// How a producer is started.
#[derive(Clone, Debug)]
pub(super) enum How {
    /// As it is.
    Plain,
    /// With another broker.
    WithBroker(String),
    /// By another program, given with its arguments.
    Under(Vec<OsString>),
}

/// Milliseconds from the start of each process until `/readyz` was 200.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) producer_ms: f64,
    pub(super) worker_inventory_ms: f64,
    pub(super) worker_fulfillment_ms: f64,
}

/// A running producer with both of its workers.
#[derive(Debug)]
pub(super) struct System {
    pub(super) producer: Process,
    pub(super) workers: [Process; 2],
    pub(super) ready: Option<Ready>,
}

impl Setup {
    fn producer(&self, how: &How) -> Result<Program> {
        let binary = self.binaries.join(BINARIES[0]);
        let program = match how {
            How::Under(tracer) => match tracer.split_first() {
                Some((first, rest)) => rest.iter().fold(Program::new(first), Program::arg).arg(binary),
                None => Program::new(binary),
            },
            How::Plain | How::WithBroker(_) => Program::new(binary),
        };
        let database_url = match &self.database {
            Some(database) => database.url().to_owned(),
            None => format!("sqlite://{}", self.directory.join(format!("{}.db", self.exchange)).display()),
        };
        let program = self.settings(program).env("DATABASE_URL", database_url);
        Ok(match how {
            How::WithBroker(amqp_url) => program.env("AMQP_URL", amqp_url),
            How::Plain | How::Under(_) => program,
        })
    }

    fn worker(&self, destination: usize) -> Result<Program> {
        let [inventory, fulfillment] = &self.apis;
        let binary = self.binaries.join(BINARIES[destination + 1]);
        Ok(self
            .settings(Program::new(binary))
            .env("INVENTORY_API_URL", inventory)
            .env("FULFILLMENT_API_URL", fulfillment)
            .env("FULFILLMENT_API_TOKEN", "bench"))
    }

    /// Everything but addresses is left at its default: the defaults are what is measured.
    fn settings(&self, program: Program) -> Program {
        program
            .directory(&self.directory)
            .env("AMQP_URL", &self.amqp_url)
            .env("EXCHANGE", &self.exchange)
            .env("HTTP_ADDR", "127.0.0.1:0")
    }

    /// Starts a producer, and waits until it is ready.
    pub(super) async fn start_producer(&self, how: &How) -> Result<(Process, f64)> {
        start(&self.producer(how)?).await
    }

    /// Starts both workers, one after the other, and waits until each is ready.
    pub(super) async fn start_workers(&self) -> Result<([Process; 2], [f64; 2])> {
        let (inventory, inventory_ms) = start(&self.worker(0)?).await?;
        let (fulfillment, fulfillment_ms) = start(&self.worker(1)?).await?;
        Ok(([inventory, fulfillment], [inventory_ms, fulfillment_ms]))
    }

    /// Starts a producer, and waits for nothing.
    pub(super) fn launch_producer(&self) -> Result<Process> {
        self.producer(&How::Plain)?.start()
    }

    /// Starts both workers at once, and waits for nothing.
    pub(super) fn launch_workers(&self) -> Result<[Process; 2]> {
        Ok([self.worker(0)?.start()?, self.worker(1)?.start()?])
    }

    /// Starts all, one after the other.
    pub(super) async fn start(&self, how: &How) -> Result<System> {
        let (producer, producer_ms) = self.start_producer(how).await?;
        let (workers, [worker_inventory_ms, worker_fulfillment_ms]) = self.start_workers().await?;
        let ready = Some(Ready { producer_ms, worker_inventory_ms, worker_fulfillment_ms });
        Ok(System { producer, workers, ready })
    }
}

impl System {
    /// All of its processes, in the order of [`BINARIES`].
    pub(super) fn processes(&self) -> [&Process; 3] {
        let [inventory, fulfillment] = &self.workers;
        [&self.producer, inventory, fulfillment]
    }

    /// Ends all of it in order.
    pub(super) async fn end(self) -> Result<()> {
        for process in self.processes() {
            end(process).await?;
        }
        Ok(())
    }
}

/// Ends a process in order.
pub(super) async fn end(process: &Process) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit().await?;
    if !status.success() {
        bail!("{} ended with {status}:\n{}", process.name(), process.log().tail(20));
    }
    Ok(())
}

/// Waits until the broker has confirmed every order and the ledger has every outcome.
pub(super) async fn settled(producer: &Process, orders: u64) -> Result<()> {
    let deadline = Instant::now() + SETTLE_DEADLINE;
    loop {
        let metrics = producer.metrics().await?;
        let outcomes = metrics.sum("tandem_ledger_outcomes_total", &[]);
        let published = metrics.sum("tandem_events_published_total", &[]);
        #[expect(clippy::cast_precision_loss, reason = "numbers of orders are far below 2^52")]
        let orders = orders as f64;
        // More, where something was published or reported twice, is as good.
        if outcomes >= 2.0 * orders && metrics.sum("tandem_outbox_backlog", &[]) == 0.0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "after {SETTLE_DEADLINE:?} of {orders} orders {published} are published and {outcomes} outcomes known"
            );
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

/// Waits until the broker has confirmed every order.
pub(super) async fn published(producer: &Process) -> Result<()> {
    let deadline = Instant::now() + SETTLE_DEADLINE;
    while producer.metrics().await?.sum("tandem_outbox_backlog", &[]) > 0.0 {
        if Instant::now() > deadline {
            bail!("the outbox is not empty after {SETTLE_DEADLINE:?}");
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
    Ok(())
}

/// Removes everything of an exchange from the broker, so that the next one does not carry idle queues along.
pub(super) async fn remove(amqp_url: &str, exchange: &str) -> Result<()> {
    let names = Names::new(exchange.to_owned());
    let queues = Queues::connect(amqp_url).await?;
    let mut all = vec![names.outcomes()];
    for destination in DESTINATIONS {
        all.push(names.queue(&destination.parse()?));
    }
    for queue in all {
        queues.delete_queue(&queue).await?;
        queues.delete_queue(&dead_letter_queue(&queue)).await?;
    }
    queues.delete_exchange(names.exchange()).await?;
    queues.delete_exchange(&names.dead_letter_exchange()).await
}

async fn start(program: &Program) -> Result<(Process, f64)> {
    let start = Instant::now();
    let process = program.start()?;
    process.http_addr().await?;
    loop {
        // Nobody listens for an instant after the line that says so.
        if matches!(process.readyz().await, Ok(readiness) if readiness.status == 200) {
            let took = start.elapsed();
            return Ok((process, took.as_secs_f64() * 1_000.0));
        }
        if let Some(status) = process.exit_status() {
            bail!("{} ended ({status}):\n{}", process.name(), process.log().tail(20));
        }
        if start.elapsed() > READY_DEADLINE {
            let readiness = process.readyz().await.context("no answer from /readyz")?;
            bail!("{} is not ready after {READY_DEADLINE:?}: {}", process.name(), readiness.body);
        }
        tokio::time::sleep(READY_PAUSE).await;
    }
}
