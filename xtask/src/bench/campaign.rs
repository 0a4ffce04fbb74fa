//! The bench from start to end: rounds, then backlogs, then syncs; each on a system of its own.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use ::tests::{
    binaries,
    broker::Broker,
    ports::Port,
    postgres::{self, Postgres},
    process::Process,
};
use anyhow::{Context as _, Result, bail};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::{
    broker_messages::BrokerMessages,
    conditions::{self, Conditions},
    cpu::{self, Cpu, Servers},
    load::{Load, Target, Until},
    options::{Options, Store},
    raw_broker::{Job, RawLine, Settings as RawSettings},
    report::{Backlog, Closed, Open, Raw, Report, Round},
    syncs::{self, Syncs},
    system::{self, BINARIES, How, Setup, System},
    table,
};
use crate::cargo;

/// The fixed rates, in orders a second.
const RATES: [u32; 2] = [200, 1_000];
/// Orders that are not measured, before those that are.
const WARM_UP: u64 = 1_000;
/// How long a system is left alone before its memory counts as idle.
const IDLE: Duration = Duration::from_secs(5);
/// Orders of the run under `strace`.
const TRACED_ORDERS: u64 = 5_000;

/// Measures, prints and writes what was found.
///
/// Cancellation safe: all that was started ends with the future.
///
/// # Errors
/// Something cannot be built, started or measured.
pub(super) async fn run(options: &Options) -> Result<ExitCode> {
    let load_before = conditions::load_average();
    let bench = Bench::prepare(options.clone()).await?;
    let conditions = Conditions::now(load_before, &bench.servers, &bench.directory).await?;
    say(&format!("load average before: {}", conditions.load_before));
    let mut report = Report {
        conditions,
        options: options.clone(),
        raw_settings: bench.raw_settings(),
        rounds: Vec::new(),
        backlogs: Vec::new(),
        syncs: None,
    };
    let parts = options.parts;
    let rounds = if parts.raw || parts.closed || parts.open { options.rounds } else { 0 };
    for number in 1..=rounds {
        report.rounds.push(bench.round(number).await?);
    }
    if parts.backlog {
        report.backlogs.push(bench.outbox_backlog().await?);
        report.backlogs.push(bench.queue_backlog().await?);
    }
    if parts.syncs {
        report.syncs = Some(bench.syncs().await?);
    }
    let tables = table::all(&report);
    println!("{tables}");
    let written = bench.write(&report, &tables)?;
    say(&format!("written to {written}"));
    if report.is_clean() {
        Ok(ExitCode::SUCCESS)
    } else {
        say("FAILED: not every order was told to both APIs under one key each");
        Ok(ExitCode::FAILURE)
    }
}

/// What every part needs.
struct Bench {
    options: Options,
    /// The build directory.
    target: PathBuf,
    /// Where the binaries are.
    binaries: PathBuf,
    servers: Servers,
    /// Databases; removed at the end.
    directory: PathBuf,
}

impl Bench {
    async fn prepare(options: Options) -> Result<Self> {
        let target = binaries::target_directory()?;
        let binaries = match &options.binaries {
            Some(directory) => directory.canonicalize().with_context(|| format!("no {}", directory.display()))?,
            None => build(&target).await?,
        };
        let directory = target.join("bench").join(format!("data-{}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let broker = Broker::find_or_start().await?;
        let database = match options.store {
            Store::Sqlite => None,
            Store::Postgres => Some(Postgres::find_or_start(postgres::Syncs::On).await?),
        };
        Ok(Self { options, target, binaries, servers: Servers { broker, database }, directory })
    }

    fn raw_settings(&self) -> RawSettings {
        RawSettings::new(self.options.raw_messages, self.options.raw_window)
    }

    async fn load(&self) -> Result<Load> {
        Load::start(&self.xtask()).await
    }

    fn xtask(&self) -> PathBuf {
        self.binaries.join("xtask")
    }

    async fn setup(&self, exchange: &str, load: &Load) -> Result<Setup> {
        let database = match &self.servers.database {
            Some(server) => Some(Arc::new(server.fresh_database().await?)),
            None => None,
        };
        Ok(Setup {
            binaries: self.binaries.clone(),
            directory: self.directory.clone(),
            // A broker that is not ours may hold the same names already.
            exchange: format!("bench-{}-{exchange}", std::process::id()),
            amqp_url: self.servers.broker.url(),
            apis: load.apis().clone(),
            database,
        })
    }

    async fn target(&self, producer: &Process) -> Result<Target> {
        Ok(Target { producer: producer.http_addr().await?, keys: self.options.keys })
    }

    /// The raw broker line and our own, one after the other, so that both meet the same mood of the machine.
    async fn round(&self, number: usize) -> Result<Round> {
        let parts = self.options.parts;
        let mut round = Round::default();
        if parts.raw {
            let raw = self.raw_line(number).await?;
            say(&format!("round {number}: raw broker line {:.0} messages/s", raw.line.per_second));
            round.raw = Some(raw);
        }
        if !parts.closed && !parts.open {
            return Ok(round);
        }
        let mut load = self.load().await?;
        let setup = self.setup(&format!("round-{number}"), &load).await?;
        let first = setup.start(&How::Plain).await?;
        round.first_start = first.ready;
        first.end().await?;
        let system = setup.start(&How::Plain).await?;
        round.start = system.ready;
        let pids = system.processes().map(|process| format!("{} {}", process.name(), process.pid()));
        say(&format!("round {number}: processes {}", pids.join(", ")));
        tokio::time::sleep(IDLE).await;
        round.idle = cpu::memory(&system.processes(), &self.servers, &load)?;
        let mut placed = self.warm_up(&mut load, &system).await?;
        if parts.closed {
            let closed = self.closed(&mut load, &system, &mut placed).await?;
            say(&format!(
                "round {number}: {:.0} complete orders/s, own CPU {:.3} s per 1,000",
                closed.per_second, closed.cpu_per_1000.own
            ));
            round.closed = Some(closed);
        }
        if parts.open {
            for rate in RATES {
                let open = self.open(&mut load, &system, rate, &mut placed).await?;
                let told = open.placed.accepted_to_told.map_or(0.0, |told| told.p50_ms);
                say(&format!(
                    "round {number}: at {rate}/s accepted to told {told:.2} ms (median), own CPU {:.3} s per 1,000",
                    open.cpu_per_1000.own
                ));
                round.open.push(open);
            }
        }
        tokio::time::sleep(IDLE).await;
        round.idle_after = cpu::memory(&system.processes(), &self.servers, &load)?;
        round.verdict = Some(load.audit().await?);
        self.end(system, &setup).await?;
        Ok(round)
    }

    async fn raw_line(&self, number: usize) -> Result<Raw> {
        let settings = self.raw_settings();
        let exchange = format!("bench-{}-raw-{number}", std::process::id());
        let job = Job { amqp_url: self.servers.broker.url(), exchange: exchange.clone(), settings };
        let before = self.servers.broker.usage();
        let mut command = Command::new(self.xtask());
        command.args(["bench", "raw-broker"]).process_group(0).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start it")?;
        let mut stdin = child.stdin.take().context("it has no standard input")?;
        stdin.write_all(&serde_json::to_vec(&job)?).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        let line: RawLine = serde_json::from_slice(&output.stdout).context("the raw broker line failed")?;
        let broker_cpu_per_1000 = before.zip(self.servers.broker.usage()).map(|(before, after)| {
            #[expect(clippy::cast_precision_loss, reason = "numbers of messages are far below 2^52")]
            let messages = (settings.messages + settings.warm_up) as f64;
            after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1_000.0 / messages
        });
        system::remove(&self.servers.broker.url(), &exchange).await?;
        Ok(Raw { line, broker_cpu_per_1000 })
    }

    /// Returns how many orders were placed.
    async fn warm_up(&self, load: &mut Load, system: &System) -> Result<u64> {
        let target = self.target(&system.producer).await?;
        load.closed(target, WARM_UP, self.options.in_flight, Until::Told).await?;
        system::settled(&system.producer, WARM_UP).await?;
        Ok(WARM_UP)
    }

    async fn closed(&self, load: &mut Load, system: &System, before: &mut u64) -> Result<Closed> {
        let orders = self.options.orders;
        let target = self.target(&system.producer).await?;
        let messages_before = BrokerMessages::now(&self.servers.broker).await;
        let commits_before = Commits::of(&system.producer).await?;
        let cpu_before = Cpu::now(&system.processes(), &self.servers, load)?;
        let placed = load.closed(target, orders, self.options.in_flight, Until::Told).await?;
        *before += orders;
        // What is still to be recorded belongs to these orders.
        system::settled(&system.producer, *before).await?;
        let cpu = Cpu::now(&system.processes(), &self.servers, load)?.since(&cpu_before, orders, &BINARIES);
        let commits = Commits::of(&system.producer).await?.since(&commits_before);
        let memory = cpu::memory(&system.processes(), &self.servers, load)?;
        let messages = messages_before.zip(BrokerMessages::now(&self.servers.broker).await);
        Ok(Closed {
            per_second: per_second(orders, placed.seconds),
            placed,
            cpu_per_1000: cpu,
            memory,
            commits_per_order: commits.count / as_f64(orders),
            commit_mean_ms: commits.seconds * 1_000.0 / commits.count,
            messages_per_order: messages.map(|(before, after)| after.since(before, orders)),
        })
    }

    async fn open(&self, load: &mut Load, system: &System, rate: u32, before: &mut u64) -> Result<Open> {
        let orders = u64::from(rate) * self.options.seconds;
        let target = self.target(&system.producer).await?;
        let commits_before = Commits::of(&system.producer).await?;
        let cpu_before = Cpu::now(&system.processes(), &self.servers, load)?;
        let placed = load.open(target, orders, rate).await?;
        *before += orders;
        system::settled(&system.producer, *before).await?;
        let cpu = Cpu::now(&system.processes(), &self.servers, load)?.since(&cpu_before, orders, &BINARIES);
        let commits = Commits::of(&system.producer).await?.since(&commits_before);
        Ok(Open { rate, placed, cpu_per_1000: cpu, commits_per_order: commits.count / as_f64(orders) })
    }

    /// Orders that were accepted while there was no broker: they wait in the table, and are published after a restart.
    async fn outbox_backlog(&self) -> Result<Backlog> {
        let mut load = self.load().await?;
        let setup = self.setup("outbox", &load).await?;
        let nobody = Port::choose()?;
        let nowhere = How::WithBroker(format!("amqp://guest:guest@127.0.0.1:{}/%2f", nobody.number()));
        let (producer, _) = setup.start_producer(&nowhere).await?;
        let accepted = self.accept(&mut load, &producer).await?;
        system::end(&producer).await?;
        load.drain().await?;
        let cpu_before = Cpu::now(&[], &self.servers, &load)?;
        let (producer, workers) = (setup.launch_producer()?, setup.launch_workers()?);
        self.drained("outbox", accepted, load, &setup, &cpu_before, producer, workers).await
    }

    /// Orders that were published while there were no workers: they wait in the queues.
    async fn queue_backlog(&self) -> Result<Backlog> {
        let mut load = self.load().await?;
        let setup = self.setup("queues", &load).await?;
        let (producer, _) = setup.start_producer(&How::Plain).await?;
        let accepted = self.accept(&mut load, &producer).await?;
        system::published(&producer).await?;
        load.drain().await?;
        let cpu_before = Cpu::now(&[&producer], &self.servers, &load)?;
        let workers = setup.launch_workers()?;
        self.drained("queues", accepted, load, &setup, &cpu_before, producer, workers).await
    }

    /// Returns orders a second.
    async fn accept(&self, load: &mut Load, producer: &Process) -> Result<f64> {
        let target = self.target(producer).await?;
        let placed = load.closed(target, self.options.backlog, self.options.in_flight, Until::Accepted).await?;
        Ok(per_second(self.options.backlog, placed.seconds))
    }

    #[expect(clippy::too_many_arguments, reason = "the second half of two functions")]
    async fn drained(
        &self,
        place: &'static str,
        accepted_per_second: f64,
        mut load: Load,
        setup: &Setup,
        cpu_before: &Cpu,
        producer: Process,
        workers: [Process; 2],
    ) -> Result<Backlog> {
        let system = System { producer, workers, ready: None };
        let drained = load.drained().await?;
        system::settled(&system.producer, self.options.backlog).await?;
        let cpu = Cpu::now(&system.processes(), &self.servers, &load)?;
        let cpu_per_1000 = cpu.since(cpu_before, self.options.backlog, &BINARIES);
        let memory = cpu::memory(&system.processes(), &self.servers, &load)?;
        let verdict = load.audit().await?;
        self.end(system, setup).await?;
        let per_second = per_second(drained.orders, drained.seconds);
        say(&format!("backlog in the {place}: drained at {per_second:.0} orders/s"));
        let fastest = drained.tenths.iter().copied().fold(0.0, f64::max);
        let slowest = drained.tenths.iter().copied().fold(f64::INFINITY, f64::min);
        let end = |tenth: Option<&f64>| tenth.copied().unwrap_or(f64::NAN);
        Ok(Backlog {
            place,
            accepted_per_second,
            per_second,
            spread: (fastest - slowest) / per_second,
            last_to_first: end(drained.tenths.last()) / end(drained.tenths.first()),
            drained,
            cpu_per_1000,
            memory,
            verdict,
        })
    }

    /// A run of its own, because counting calls slows them.
    async fn syncs(&self) -> Result<Syncs> {
        let file = self.directory.join("strace");
        let mut load = self.load().await?;
        let setup = self.setup("syncs", &load).await?;
        let tracer = syncs::tracer(&file).await;
        let how = tracer.clone().map_or(How::Plain, How::Under);
        let system = setup.start(&how).await?;
        let target = self.target(&system.producer).await?;
        load.closed(target, TRACED_ORDERS, self.options.in_flight, Until::Told).await?;
        system::settled(&system.producer, TRACED_ORDERS).await?;
        let commits = Commits::of(&system.producer).await?.count;
        self.end(system, &setup).await?;
        let (by, syncs) = match tracer {
            Some(_) => ("strace", as_f64(syncs::counted(&file).await?)),
            None => ("store_commits (there is no strace here that may trace)", commits),
        };
        Ok(Syncs { by, orders: TRACED_ORDERS, syncs, commits, syncs_per_order: syncs / as_f64(TRACED_ORDERS) })
    }

    async fn end(&self, system: System, setup: &Setup) -> Result<()> {
        system.end().await?;
        system::remove(&setup.amqp_url, &setup.exchange).await
    }

    fn write(&self, report: &Report, tables: &str) -> Result<String> {
        let name = report.conditions.at.replace(':', "");
        let default = |end: &str| self.target.join("bench").join(format!("{name}.{end}"));
        let json = self.options.json.clone().unwrap_or_else(|| default("json"));
        let markdown = self.options.markdown.clone().unwrap_or_else(|| default("md"));
        write(&json, &serde_json::to_vec_pretty(report)?)?;
        write(&markdown, tables.as_bytes())?;
        Ok(format!("{} and {}", json.display(), markdown.display()))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What cannot be removed is below the build directory; no reason to fail.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Builds what is measured, and returns where it is.
async fn build(target: &Path) -> Result<PathBuf> {
    let packages = BINARIES.iter().chain(["xtask"].iter()).flat_map(|package| ["--package", package]);
    let arguments = ["build", "--release", "--bins"].into_iter().chain(packages).map(OsStr::new);
    let status = cargo::cargo(arguments.chain([OsStr::new("--target-dir"), target.as_os_str()])).await?;
    if !status.success() {
        bail!("the release build failed ({status})");
    }
    Ok(target.join("release"))
}

/// Transactions of a producer.
struct Commits {
    count: f64,
    seconds: f64,
}

impl Commits {
    async fn of(producer: &Process) -> Result<Self> {
        let metrics = producer.metrics().await?;
        let sum = |name| metrics.sum(name, &[]);
        Ok(Self { count: sum("tandem_store_commits_total"), seconds: sum("tandem_store_commit_seconds_sum") })
    }

    fn since(&self, before: &Self) -> Self {
        Self { count: self.count - before.count, seconds: self.seconds - before.seconds }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn per_second(orders: u64, seconds: f64) -> f64 {
    as_f64(orders) / seconds.max(1e-9)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of orders are far below 2^52")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Progress goes to standard error, the tables to standard output.
fn say(what: &str) {
    eprintln!("{what}");
}
