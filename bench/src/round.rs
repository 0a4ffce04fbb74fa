//! One round: the raw broker line, then orders in a closed loop and at fixed rates, with one system for all of them.

use std::time::Duration;

use ::tests::process::Process;
use anyhow::Result;
use serde::Serialize;

use crate::{
    broker_messages::{BrokerMessages, MessagesPerOrder},
    campaign::Campaign,
    load::{Audit, CLOSED_LOOP, Load, Pattern, Placed, Target, Until},
    options::Part,
    raw_broker::RawBroker,
    system::{self, System},
    usage::{ByProcess, Cpu, Memory},
};

/// Orders before those that are measured.
const WARM_UP: u64 = 1_000;
/// How long a system is left alone before its memory counts as idle.
const IDLE: Duration = Duration::from_secs(5);

/// One round. A part that was not asked for is absent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Round {
    pub(crate) raw_broker: Option<RawBroker>,
    pub(crate) system: Option<SystemRound>,
}

/// What was measured on one system.
#[derive(Debug, Serialize)]
pub(crate) struct SystemRound {
    /// Milliseconds from the start of a process until `/readyz` is 200, on a broker without the topology.
    pub(crate) first_start_ms: ByProcess<f64>,
    /// The same of the second start, with the topology and the database there.
    pub(crate) start_ms: ByProcess<f64>,
    /// Five seconds after the start.
    pub(crate) memory_before: ByProcess<Memory>,
    pub(crate) runs: Vec<Run>,
    /// Five seconds after the last order.
    pub(crate) memory_after: ByProcess<Memory>,
    /// Of all orders, those of the warm-up too.
    pub(crate) audit: Audit,
}

/// A number of orders in one pattern.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    /// `closed loop`, or the rate, such as `200/s`.
    pub(crate) pattern: String,
    #[serde(flatten)]
    pub(crate) placed: Placed,
    /// CPU seconds per 1,000 orders.
    pub(crate) cpu_per_1000: ByProcess<f64>,
    /// At the end of the run.
    pub(crate) memory: ByProcess<Memory>,
    pub(crate) transactions_per_order: f64,
    pub(crate) transaction_mean_ms: f64,
    /// Only in the closed loop, and only if the broker can be asked.
    pub(crate) broker_messages: Option<MessagesPerOrder>,
}

impl Campaign {
    /// The raw broker line and then orders: both meet the machine in the same mood.
    pub(crate) async fn round(&self, number: u64) -> Result<Round> {
        let mut round = Round::default();
        if self.options.measures(Part::Raw) {
            let raw = self.raw_broker(&format!("raw-{number}")).await?;
            eprintln!("round {number}: raw broker line {:.0} messages/s", raw.per_second);
            round.raw_broker = Some(raw);
        }
        if self.options.measures(Part::Closed) || self.options.measures(Part::Open) {
            round.system = Some(self.system_round(number).await?);
        }
        Ok(round)
    }

    async fn system_round(&self, number: u64) -> Result<SystemRound> {
        let load = Load::start()?;
        let setup = self.setup(&format!("round-{number}"), &load).await?;
        let first = setup.start(setup.producer()).await?;
        let first_start_ms = first.ready_ms.clone();
        first.end().await?;
        let system = setup.start(setup.producer()).await?;
        let pids = system.processes.iter().map(|process| format!("{} {}", process.name(), process.pid()));
        eprintln!("round {number}: processes {}", pids.collect::<Vec<_>>().join(", "));
        tokio::time::sleep(IDLE).await;
        let memory_before = self.servers.memory(&system.processes)?;
        self.run(&load, &system, self.closed_loop(WARM_UP)).await?;
        let mut runs = Vec::new();
        for pattern in self.patterns() {
            let run = self.run(&load, &system, pattern).await?;
            eprintln!("round {number}: {}", run.in_short());
            runs.push(run);
        }
        tokio::time::sleep(IDLE).await;
        let memory_after = self.servers.memory(&system.processes)?;
        let start_ms = system.ready_ms.clone();
        system.end().await?;
        setup.remove().await?;
        Ok(SystemRound { first_start_ms, start_ms, memory_before, runs, memory_after, audit: load.audit() })
    }

    fn patterns(&self) -> Vec<Pattern> {
        let options = &self.options;
        let closed = options.measures(Part::Closed).then(|| self.closed_loop(options.orders));
        let rates: &[u64] = if options.measures(Part::Open) { &options.rates } else { &[] };
        let open = rates.iter().map(|rate| Pattern::Open { orders: rate * options.seconds, per_second: *rate });
        closed.into_iter().chain(open).collect()
    }

    pub(crate) fn closed_loop(&self, orders: u64) -> Pattern {
        Pattern::Closed { orders, in_flight: self.options.in_flight, until: Until::Delivered }
    }

    /// Where orders go.
    pub(crate) async fn target(&self, producer: &Process) -> Result<Target> {
        Ok(Target { producer: producer.http_addr().await?, keys: self.options.keys })
    }

    async fn run(&self, load: &Load, system: &System, pattern: Pattern) -> Result<Run> {
        let (producer, orders) = (system.producer(), pattern.orders());
        // Counting them takes 2 s.
        let counts = matches!(pattern, Pattern::Closed { .. });
        let messages_before = if counts { BrokerMessages::now(&self.servers.broker).await } else { None };
        let transactions_before = Transactions::of(producer).await?;
        let cpu_before = Cpu::now(&system.processes, &self.servers, load)?;
        let placed = load.place(self.target(producer).await?, pattern).await?;
        // The outcomes that are still to be recorded belong to these orders.
        system::settled(producer, load.accepted()).await?;
        let cpu = Cpu::now(&system.processes, &self.servers, load)?;
        let transactions = Transactions::of(producer).await?.since(&transactions_before);
        let messages = if counts { BrokerMessages::now(&self.servers.broker).await } else { None };
        Ok(Run {
            pattern: pattern.name(),
            placed,
            cpu_per_1000: cpu.per_1000_since(&cpu_before, orders),
            memory: self.servers.memory(&system.processes)?,
            transactions_per_order: transactions.count / orders as f64,
            transaction_mean_ms: transactions.seconds * 1_000.0 / transactions.count,
            broker_messages: messages_before.zip(messages).map(|(before, after)| after.since(before, orders)),
        })
    }
}

impl SystemRound {
    /// The run of the closed loop, if it was measured.
    pub(crate) fn closed_loop(&self) -> Option<&Run> {
        self.runs.iter().find(|run| run.pattern == CLOSED_LOOP)
    }
}

impl Run {
    fn in_short(&self) -> String {
        let delivered = self.placed.latencies.accepted_to_delivered.map_or(0.0, |latency| latency.p50_ms);
        let own = self.cpu_per_1000.get(crate::usage::OWN).copied().unwrap_or_default();
        format!(
            "{}: {:.0} orders/s, accepted to delivered {delivered:.2} ms (median), own CPU {own:.3} s per 1,000",
            self.pattern, self.placed.per_second
        )
    }
}

/// Transactions of a producer since its start.
#[derive(Debug)]
pub(crate) struct Transactions {
    pub(crate) count: f64,
    seconds: f64,
}

impl Transactions {
    pub(crate) async fn of(producer: &Process) -> Result<Self> {
        let metrics = producer.metrics().await?;
        let sum = |name| metrics.sum(name, &[]);
        Ok(Self { count: sum("tandem_store_commits_total"), seconds: sum("tandem_store_commit_seconds_sum") })
    }

    fn since(&self, before: &Self) -> Self {
        Self { count: self.count - before.count, seconds: self.seconds - before.seconds }
    }
}
