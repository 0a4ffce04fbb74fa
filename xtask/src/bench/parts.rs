//! The parts of the bench, to be measured together or alone.

use anyhow::{Result, bail};
use serde::Serialize;

/// Which parts are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Parts {
    /// The raw broker line.
    pub(super) raw: bool,
    /// Orders in a closed loop.
    pub(super) closed: bool,
    /// Orders at fixed rates.
    pub(super) open: bool,
    /// Backlogs.
    pub(super) backlog: bool,
    /// Writes forced to disk.
    pub(super) syncs: bool,
}

impl Parts {
    /// All of them.
    pub(super) const ALL: Self = Self { raw: true, closed: true, open: true, backlog: true, syncs: true };

    /// Those with these names.
    ///
    /// # Errors
    /// There is none of a name.
    pub(super) fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut parts = Self::default();
        for name in names {
            match name {
                "raw" => parts.raw = true,
                "closed" => parts.closed = true,
                "open" => parts.open = true,
                "backlog" => parts.backlog = true,
                "syncs" => parts.syncs = true,
                _ => bail!("there is no part {name:?}: raw, closed, open, backlog, syncs"),
            }
        }
        Ok(parts)
    }
}
