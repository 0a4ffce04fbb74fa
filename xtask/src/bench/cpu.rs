//! CPU time and memory by process.

use std::{collections::BTreeMap, time::Duration};

use ::tests::{broker::Broker, postgres::Postgres, process::Process};
use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::load::Load;

/// Names the Erlang VM of the private node.
pub(super) const BROKER: &str = "RabbitMQ";
/// Names all processes of the database server.
pub(super) const DATABASE: &str = "Postgres";
/// Names the thread of the fake APIs.
pub(super) const APIS: &str = "fake APIs";
/// Names the rest of the load process.
pub(super) const GENERATOR: &str = "generator";
/// Names the load process.
pub(super) const LOAD: &str = "generator and fake APIs";

/// The servers that a system needs.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) broker: Broker,
    /// Where orders are kept in no file.
    pub(super) database: Option<Postgres>,
}

impl Servers {
    /// What each of those that are ours has used so far.
    fn usage(&self) -> impl Iterator<Item = (&'static str, ::tests::usage::Usage)> {
        let database = self.database.as_ref().and_then(Postgres::usage).map(|usage| (DATABASE, usage));
        self.broker.usage().map(|usage| (BROKER, usage)).into_iter().chain(database)
    }
}

/// CPU time used so far, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Cpu(BTreeMap<String, Duration>);

/// CPU seconds for a thousand orders, by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct CpuPer1000 {
    /// Of the producer and both workers together.
    pub(super) own: f64,
    /// Each by itself.
    pub(super) by_process: BTreeMap<String, f64>,
}

/// Memory of a process, in MB (10^6 bytes).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Resident now.
    pub(super) rss_mb: f64,
    /// Resident now, with what is shared counted by its share.
    pub(super) pss_mb: Option<f64>,
    /// The most that was ever resident.
    pub(super) peak_mb: f64,
}

impl Cpu {
    /// What these have used so far.
    pub(super) fn now(ours: &[&Process], servers: &Servers, load: &Load) -> Result<Self> {
        let mut by_name = BTreeMap::new();
        for process in ours {
            by_name.insert(process.name().to_owned(), process.usage()?.cpu);
        }
        for (name, usage) in servers.usage() {
            by_name.insert(name.to_owned(), usage.cpu);
        }
        let (generator, apis) = load.cpu()?;
        by_name.insert(GENERATOR.to_owned(), generator);
        by_name.insert(APIS.to_owned(), apis);
        Ok(Self(by_name))
    }

    /// What was used since `before`, for a thousand of `orders`.
    pub(super) fn since(&self, before: &Self, orders: u64, ours: &[&str]) -> CpuPer1000 {
        #[expect(clippy::cast_precision_loss, reason = "numbers of orders are far below 2^52")]
        let orders = orders as f64;
        let by_process: BTreeMap<_, _> = self
            .0
            .iter()
            .map(|(name, now)| {
                let used = now.saturating_sub(before.0.get(name).copied().unwrap_or_default());
                (name.clone(), used.as_secs_f64() * 1_000.0 / orders)
            })
            .collect();
        let own = ours.iter().filter_map(|name| by_process.get(*name)).sum();
        CpuPer1000 { own, by_process }
    }
}

/// Memory by process.
pub(super) fn memory(ours: &[&Process], servers: &Servers, load: &Load) -> Result<BTreeMap<String, Memory>> {
    let mut by_name = BTreeMap::new();
    for process in ours {
        by_name.insert(process.name().to_owned(), Memory::from(process.usage()?));
    }
    for (name, usage) in servers.usage() {
        by_name.insert(name.to_owned(), Memory::from(usage));
    }
    by_name.insert(LOAD.to_owned(), Memory::from(::tests::usage::of(load.pid()?)?));
    Ok(by_name)
}

impl From<::tests::usage::Usage> for Memory {
    fn from(usage: ::tests::usage::Usage) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^52")]
        let mb = |bytes: u64| bytes as f64 / 1e6;
        Self { rss_mb: mb(usage.rss), pss_mb: usage.pss.map(mb), peak_mb: mb(usage.peak_rss) }
    }
}
