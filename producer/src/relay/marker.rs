//! Marking in the table what is published.

use std::{sync::Arc, time::Duration};

use store::Writes;
use tokio::time::Instant;

use crate::outbox::Outbox;

/// How long a mark waits for a transaction to ride along with. Losing it publishes once more.
const MARK_WITHIN: Duration = Duration::from_millis(50);

/// Has the store mark what is published.
pub(super) struct Marker {
    outbox: Arc<Outbox>,
    writes: Writes,
    /// When marks are committed even without a transaction to ride along with.
    at: Option<Instant>,
}

impl Marker {
    pub(super) fn new(outbox: Arc<Outbox>, writes: Writes) -> Self {
        Self { outbox, writes, at: None }
    }

    /// Marks how far the lanes are. The mark rides along with the next transaction, which under load comes within a
    /// millisecond.
    pub(super) fn mark(&mut self) {
        let (up_to, lanes) = self.outbox.lanes().marks();
        self.writes.published(up_to, lanes);
        self.at.get_or_insert_with(|| Instant::now() + MARK_WITHIN);
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Has the store commit what did not find a transaction to ride along with.
    pub(super) fn commit(&mut self) {
        self.at = self.writes.commit_marks().is_err().then(|| Instant::now() + MARK_WITHIN);
    }
}
