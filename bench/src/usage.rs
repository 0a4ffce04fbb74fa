//! CPU time and memory, by process.

use std::{collections::BTreeMap, time::Duration};

use ::tests::{
    broker::Broker,
    postgres::Postgres,
    process::Process,
    usage::{self, Usage},
};
use anyhow::Result;
use serde::Serialize;

use crate::{load::Load, system::BINARIES};

/// The producer and both workers together.
pub(crate) const OWN: &str = "own";
/// The Erlang VM of the private node.
pub(crate) const BROKER: &str = "rabbitmq";
/// All processes of the database server.
pub(crate) const DATABASE: &str = "postgres";
/// The thread of the fake APIs.
pub(crate) const APIS: &str = "fake-apis";
/// The other threads of this process.
pub(crate) const GENERATOR: &str = "generator";

/// A figure of each process, by the name of its binary or one of the names above.
pub(crate) type ByProcess<T> = BTreeMap<String, T>;

/// The servers of a system.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) broker: Broker,
    /// Absent with SQLite.
    pub(crate) database: Option<Postgres>,
}

/// CPU time used so far.
#[derive(Debug)]
pub(crate) struct Cpu(ByProcess<Duration>);

/// Memory of a process, in MB (10^6 bytes).
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) rss_mb: f64,
    /// Resident now; shared pages count by their share.
    pub(crate) pss_mb: Option<f64>,
    /// The most that was ever resident.
    pub(crate) peak_mb: f64,
}

impl Servers {
    /// Of these processes and of the servers; a server that was not started here has no figures.
    fn usage<'a>(&self, processes: impl IntoIterator<Item = &'a Process>) -> Result<ByProcess<Usage>> {
        let mut usage = ByProcess::new();
        for process in processes {
            usage.insert(process.name().to_owned(), process.usage()?);
        }
        usage.extend(self.broker.usage().map(|used| (BROKER.to_owned(), used)));
        usage.extend(self.database.as_ref().and_then(Postgres::usage).map(|used| (DATABASE.to_owned(), used)));
        Ok(usage)
    }

    /// The memory of these processes and of the servers now.
    pub(crate) fn memory<'a>(&self, processes: impl IntoIterator<Item = &'a Process>) -> Result<ByProcess<Memory>> {
        let usage = self.usage(processes)?;
        Ok(usage.into_iter().map(|(name, used)| (name, Memory::from(used))).collect())
    }
}

impl Cpu {
    /// What these processes, the servers and the load have used so far.
    pub(crate) fn now<'a>(
        processes: impl IntoIterator<Item = &'a Process>,
        servers: &Servers,
        load: &Load,
    ) -> Result<Self> {
        let usage = servers.usage(processes)?;
        let mut cpu: ByProcess<_> = usage.into_iter().map(|(name, used)| (name, used.cpu)).collect();
        let apis = load.apis_cpu()?;
        cpu.insert(APIS.to_owned(), apis);
        cpu.insert(GENERATOR.to_owned(), usage::of(std::process::id())?.cpu.saturating_sub(apis));
        Ok(Self(cpu))
    }

    /// CPU seconds since `before`, per 1,000 of `orders`. A process that was not there before has used all of it since.
    pub(crate) fn per_1000_since(&self, before: &Self, orders: u64) -> ByProcess<f64> {
        let used = self.0.iter().map(|(name, now)| {
            let used = now.saturating_sub(before.0.get(name).copied().unwrap_or_default());
            (name.clone(), used.as_secs_f64() * 1_000.0 / orders as f64)
        });
        let mut used: ByProcess<_> = used.collect();
        let own = BINARIES.iter().filter_map(|name| used.get(*name)).sum();
        used.insert(OWN.to_owned(), own);
        used
    }
}

impl From<Usage> for Memory {
    fn from(usage: Usage) -> Self {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        Self { rss_mb: mb(usage.rss), pss_mb: usage.pss.map(mb), peak_mb: mb(usage.peak_rss) }
    }
}
