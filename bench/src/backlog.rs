//! Backlogs: orders that wait, in the outbox or in the queues, and are then drained at once.

use ::tests::{ports::Port, process::Process};
use anyhow::Result;
use serde::Serialize;

use crate::{
    campaign::Campaign,
    load::{Audit, Drained, Load, Pattern, Until},
    options::Options,
    system::{self, Setup, System},
    usage::{ByProcess, Cpu, Memory},
};

/// How a backlog was drained.
#[derive(Debug, Serialize)]
pub(crate) struct Backlog {
    /// Where the orders waited: `outbox` or `queues`.
    pub(crate) waited_in: &'static str,
    /// Orders per second while the backlog was built up.
    pub(crate) accepted_per_second: f64,
    #[serde(flatten)]
    pub(crate) drained: Drained,
    /// CPU seconds per 1,000 orders.
    pub(crate) cpu_per_1000: ByProcess<f64>,
    pub(crate) memory: ByProcess<Memory>,
    pub(crate) audit: Audit,
}

impl Campaign {
    /// Orders that were accepted without a broker: they wait in the table, and are published after a restart.
    pub(crate) async fn outbox_backlog(&self) -> Result<Backlog> {
        let load = Load::start()?;
        let setup = self.setup("outbox", &load).await?;
        let unused = Port::choose()?;
        let no_broker = format!("amqp://guest:guest@127.0.0.1:{}/%2f", unused.number());
        let (producer, _) = system::start(&setup.producer().env("AMQP_URL", no_broker)).await?;
        let accepted = self.accept(&load, &producer).await?;
        system::end(&producer).await?;
        let cpu_before = Cpu::now(&[], &self.servers, &load)?;
        let producer = setup.producer().start()?;
        self.drain("outbox", accepted, &load, setup, producer, &cpu_before).await
    }

    /// Orders that were published without workers: they wait in the queues.
    pub(crate) async fn queue_backlog(&self) -> Result<Backlog> {
        let load = Load::start()?;
        let setup = self.setup("queues", &load).await?;
        let (producer, _) = system::start(&setup.producer()).await?;
        let accepted = self.accept(&load, &producer).await?;
        system::published(&producer).await?;
        let cpu_before = Cpu::now([&producer], &self.servers, &load)?;
        self.drain("queues", accepted, &load, setup, producer, &cpu_before).await
    }

    /// Orders accepted per second.
    async fn accept(&self, load: &Load, producer: &Process) -> Result<f64> {
        let Options { backlog, in_flight, .. } = self.options;
        let pattern = Pattern::Closed { orders: backlog, in_flight, until: Until::Accepted };
        Ok(load.place(self.target(producer).await?, pattern).await?.per_second)
    }

    async fn drain(
        &self,
        waited_in: &'static str,
        accepted_per_second: f64,
        load: &Load,
        setup: Setup,
        producer: Process,
        cpu_before: &Cpu,
    ) -> Result<Backlog> {
        let system = System::with_workers(producer, &setup)?;
        let drained = load.drained().await?;
        system::settled(system.producer(), load.accepted()).await?;
        let cpu = Cpu::now(&system.processes, &self.servers, load)?;
        let memory = self.servers.memory(&system.processes)?;
        system.end().await?;
        setup.remove().await?;
        eprintln!("backlog in the {waited_in}: drained at {:.0} orders/s", drained.per_second);
        Ok(Backlog {
            waited_in,
            accepted_per_second,
            drained,
            cpu_per_1000: cpu.per_1000_since(cpu_before, self.options.backlog),
            memory,
            audit: load.audit(),
        })
    }
}
