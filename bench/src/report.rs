//! The result: one JSON document. `docs/benchmark.md` describes its shape.

use serde::Serialize;

use crate::{backlog::Backlog, conditions::Conditions, load::Audit, options::Options, round::Round, syncs::Syncs};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) conditions: Conditions,
    pub(crate) options: Options,
    pub(crate) rounds: Vec<Round>,
    pub(crate) backlogs: Vec<Backlog>,
    pub(crate) syncs: Option<Syncs>,
}

impl Report {
    /// A report without results.
    pub(crate) fn new(conditions: Conditions, options: Options) -> Self {
        Self { conditions, options, rounds: Vec::new(), backlogs: Vec::new(), syncs: None }
    }

    /// The audits of all systems.
    pub(crate) fn audits(&self) -> impl Iterator<Item = &Audit> {
        let rounds = self.rounds.iter().filter_map(|round| Some(&round.system.as_ref()?.audit));
        rounds
            .chain(self.backlogs.iter().map(|backlog| &backlog.audit))
            .chain(self.syncs.iter().map(|syncs| &syncs.audit))
    }

    /// Whether every order of every part was delivered to both APIs, under one key each.
    pub(crate) fn is_clean(&self) -> bool {
        self.audits().all(Audit::is_clean)
    }
}
