//! How far the outbox is published, until it is committed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::Position;

/// How far the outbox is published. The writer commits it with whatever comes next, so that a mark costs no
/// wake-up.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Arc<MarkedUpTo>);

#[derive(Debug, Default)]
struct MarkedUpTo {
    published: AtomicU64,
    committed: AtomicU64,
}

impl Marks {
    pub(super) fn published(&self, up_to: Position) {
        self.0.published.fetch_max(up_to, Ordering::AcqRel);
    }

    /// What is published and not yet committed as such.
    pub(super) fn due(&self) -> Option<Position> {
        let published = self.0.published.load(Ordering::Acquire);
        (published > self.0.committed.load(Ordering::Acquire)).then_some(published)
    }

    pub(super) fn committed(&self, up_to: Position) {
        self.0.committed.fetch_max(up_to, Ordering::AcqRel);
    }
}
