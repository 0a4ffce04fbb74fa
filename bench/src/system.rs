//! The system that is measured: the binaries, on a new database and a new exchange.

use std::{
    ffi::OsString,
    ops::ControlFlow,
    path::PathBuf,
    time::{Duration, Instant},
};

use ::tests::{
    metrics::Metrics,
    postgres::Database,
    process::{Process, Program},
    queues::Queues,
    system::Names,
    waiting,
};
use anyhow::{Result, bail};

use crate::usage::ByProcess;

/// The binaries of a system.
pub(crate) const BINARIES: [&str; 3] = [PRODUCER, WORKERS[0], WORKERS[1]];
const PRODUCER: &str = "producer";
const WORKERS: [&str; 2] = ["worker-inventory", "worker-fulfillment"];
/// In the order of the fake APIs.
pub(crate) const DESTINATIONS: [&str; 2] = ["inventory", "fulfillment"];

const READY_DEADLINE: Duration = Duration::from_secs(30);
const READY_PAUSE: Duration = Duration::from_millis(1);
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);

/// The addresses of a system. Its processes can be started more than once.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The directory of the binaries.
    pub(crate) binaries: PathBuf,
    /// The working directory of the processes.
    pub(crate) directory: PathBuf,
    pub(crate) exchange: String,
    pub(crate) amqp_url: String,
    pub(crate) apis: [String; 2],
    /// A database on a server; without it, a file in the directory.
    pub(crate) database: Option<Database>,
}

/// A running producer with both of its workers.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) processes: [Process; 3],
    /// Milliseconds from the start of each process until `/readyz` was 200; empty if nobody waited for that.
    pub(crate) ready_ms: ByProcess<f64>,
}

impl Setup {
    pub(crate) fn producer(&self) -> Program {
        self.producer_of(Program::new(self.binaries.join(PRODUCER)))
    }

    /// The producer, started by another program, which is given with its arguments.
    pub(crate) fn traced_producer(&self, tracer: &[OsString]) -> Program {
        let Some((program, arguments)) = tracer.split_first() else { return self.producer() };
        let program = arguments.iter().fold(Program::new(program), Program::arg);
        self.producer_of(program.arg(self.binaries.join(PRODUCER)))
    }

    fn producer_of(&self, program: Program) -> Program {
        let database_url = match &self.database {
            Some(database) => database.url().to_owned(),
            None => format!("sqlite://{}", self.directory.join(format!("{}.db", self.exchange)).display()),
        };
        self.settings(program).env("DATABASE_URL", database_url)
    }

    fn workers(&self) -> [Program; 2] {
        let [inventory, fulfillment] = &self.apis;
        WORKERS.map(|worker| {
            self.settings(Program::new(self.binaries.join(worker)))
                .env("INVENTORY_API_URL", inventory)
                .env("FULFILLMENT_API_URL", fulfillment)
                .env("FULFILLMENT_API_TOKEN", "bench")
        })
    }

    /// Only addresses are set: the defaults are what is measured.
    fn settings(&self, program: Program) -> Program {
        program
            .directory(&self.directory)
            .env("AMQP_URL", &self.amqp_url)
            .env("EXCHANGE", &self.exchange)
            .env("HTTP_ADDR", "127.0.0.1:0")
    }

    /// Starts this producer and both workers, one after the other, and waits until each is ready.
    pub(crate) async fn start(&self, producer: Program) -> Result<System> {
        let [inventory, fulfillment] = self.workers();
        let (producer, producer_ms) = start(&producer).await?;
        let (inventory, inventory_ms) = start(&inventory).await?;
        let (fulfillment, fulfillment_ms) = start(&fulfillment).await?;
        let times = [producer_ms, inventory_ms, fulfillment_ms];
        let ready_ms = BINARIES.iter().map(|name| (*name).to_owned()).zip(times).collect();
        Ok(System { processes: [producer, inventory, fulfillment], ready_ms })
    }

    /// Removes exchange and queues from the broker: idle queues would slow the next system.
    pub(crate) async fn remove(self) -> Result<()> {
        remove(&self.amqp_url, &self.exchange).await
    }
}

impl System {
    /// This producer, with both workers started at once and not waited for.
    pub(crate) fn with_workers(producer: Process, setup: &Setup) -> Result<Self> {
        let [inventory, fulfillment] = setup.workers();
        Ok(Self { processes: [producer, inventory.start()?, fulfillment.start()?], ready_ms: ByProcess::new() })
    }

    pub(crate) fn producer(&self) -> &Process {
        let [producer, ..] = &self.processes;
        producer
    }

    /// Ends all processes, the producer first.
    pub(crate) async fn end(self) -> Result<()> {
        for process in &self.processes {
            end(process).await?;
        }
        Ok(())
    }
}

/// Starts a process, waits until it is ready, and measures how many milliseconds that takes.
pub(crate) async fn start(program: &Program) -> Result<(Process, f64)> {
    let start = Instant::now();
    let process = program.start()?;
    process.http_addr().await?;
    loop {
        // Nothing listens for an instant after the log line with the address.
        let readiness = process.readyz().await;
        if matches!(&readiness, Ok(readiness) if readiness.status == 200) {
            return Ok((process, start.elapsed().as_secs_f64() * 1_000.0));
        }
        if let Some(status) = process.exit_status() {
            bail!("{} ended ({status}):\n{}", process.name(), process.log().tail(20));
        }
        if start.elapsed() > READY_DEADLINE {
            bail!("{} is not ready after {READY_DEADLINE:?}: {}", process.name(), readiness?.body);
        }
        tokio::time::sleep(READY_PAUSE).await;
    }
}

/// Ends a process with SIGTERM.
pub(crate) async fn end(process: &Process) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit().await?;
    if !status.success() {
        bail!("{} ended with {status}:\n{}", process.name(), process.log().tail(20));
    }
    Ok(())
}

/// Waits until the broker has confirmed every order and the ledger has every outcome of this many orders.
pub(crate) async fn settled(producer: &Process, orders: u64) -> Result<()> {
    // It may be more: an outcome that was reported twice counts twice.
    let wanted = (orders * DESTINATIONS.len() as u64) as f64;
    let settled = |metrics: &Metrics| outcomes(metrics) >= wanted && backlog(metrics) == 0.0;
    wait_for(producer, &format!("{wanted} outcomes"), settled).await
}

/// Waits until the broker has confirmed every order.
pub(crate) async fn published(producer: &Process) -> Result<()> {
    wait_for(producer, "an empty outbox", |metrics| backlog(metrics) == 0.0).await
}

async fn wait_for(producer: &Process, what: &str, reached: impl Fn(&Metrics) -> bool) -> Result<()> {
    let check = async || match producer.metrics().await {
        Ok(metrics) if reached(&metrics) => ControlFlow::Break(()),
        Ok(metrics) => {
            ControlFlow::Continue(format!("{} outcomes, outbox of {}", outcomes(&metrics), backlog(&metrics)))
        }
        Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
    };
    waiting::until(what, SETTLE_DEADLINE, check).await
}

fn outcomes(metrics: &Metrics) -> f64 {
    metrics.sum("tandem_ledger_outcomes_total", &[])
}

fn backlog(metrics: &Metrics) -> f64 {
    metrics.sum("tandem_outbox_backlog", &[])
}

/// Removes everything of an exchange from the broker.
pub(crate) async fn remove(amqp_url: &str, exchange: &str) -> Result<()> {
    Names::new(exchange.to_owned()).delete(&Queues::connect(amqp_url).await?, &DESTINATIONS).await
}
