//! What was found, as it is written to JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    broker_messages::MessagesPerOrder,
    conditions::Conditions,
    cpu::{CpuPer1000, Memory},
    load::{Drained, Placed, Verdict},
    options::Options,
    raw_broker::{RawLine, Settings as RawSettings},
    syncs::Syncs,
    system::Ready,
};

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) conditions: Conditions,
    pub(super) options: Options,
    pub(super) raw_settings: RawSettings,
    pub(super) rounds: Vec<Round>,
    pub(super) backlogs: Vec<Backlog>,
    pub(super) syncs: Option<Syncs>,
}

/// One round.
#[derive(Debug, Default, Serialize)]
pub(super) struct Round {
    pub(super) raw: Option<Raw>,
    /// Start on an empty broker: the topology is made.
    pub(super) first_start: Option<Ready>,
    /// Every later start.
    pub(super) start: Option<Ready>,
    /// Five seconds after the start.
    pub(super) idle: BTreeMap<String, Memory>,
    pub(super) closed: Option<Closed>,
    pub(super) open: Vec<Open>,
    /// Five seconds after the last order.
    pub(super) idle_after: BTreeMap<String, Memory>,
    /// Every order of the round, those of the warm-up too.
    pub(super) verdict: Option<Verdict>,
}

/// The raw broker line.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Raw {
    #[serde(flatten)]
    pub(super) line: RawLine,
    /// CPU seconds of the broker for a thousand messages, warm-up and declarations included.
    pub(super) broker_cpu_per_1000: Option<f64>,
}

/// The closed loop.
#[derive(Debug, Serialize)]
pub(super) struct Closed {
    pub(super) per_second: f64,
    #[serde(flatten)]
    pub(super) placed: Placed,
    pub(super) cpu_per_1000: CpuPer1000,
    pub(super) memory: BTreeMap<String, Memory>,
    pub(super) commits_per_order: f64,
    pub(super) commit_mean_ms: f64,
    pub(super) messages_per_order: Option<MessagesPerOrder>,
}

/// A fixed rate.
#[derive(Debug, Serialize)]
pub(super) struct Open {
    pub(super) rate: u32,
    #[serde(flatten)]
    pub(super) placed: Placed,
    pub(super) cpu_per_1000: CpuPer1000,
    pub(super) commits_per_order: f64,
}

/// A backlog.
#[derive(Debug, Serialize)]
pub(super) struct Backlog {
    /// Where the orders waited.
    pub(super) place: &'static str,
    /// How fast they were accepted meanwhile.
    pub(super) accepted_per_second: f64,
    #[serde(flatten)]
    pub(super) drained: Drained,
    pub(super) per_second: f64,
    /// The fastest tenth less the slowest, as a share of the mean.
    pub(super) spread: f64,
    /// The last tenth against the first, as a share.
    pub(super) last_to_first: f64,
    pub(super) cpu_per_1000: CpuPer1000,
    pub(super) memory: BTreeMap<String, Memory>,
    pub(super) verdict: Verdict,
}

impl Report {
    /// Whether every order of every part was told to both APIs, each under one key.
    pub(super) fn is_clean(&self) -> bool {
        let rounds = self.rounds.iter().filter_map(|round| round.verdict.as_ref());
        rounds.chain(self.backlogs.iter().map(|backlog| &backlog.verdict)).all(Verdict::is_clean)
    }
}
