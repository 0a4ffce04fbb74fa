//! What the last sweep found.

use std::sync::{Arc, Mutex, PoisonError};

use api::{OverdueDelivery, Seen};
use jiff::Timestamp;
use store::Found;

/// The deliveries found, as they are shown.
pub(super) fn overdue(seen: Seen, found: &Found) -> impl Iterator<Item = OverdueDelivery> {
    found.overdue.iter().map(move |overdue| OverdueDelivery {
        order_id: overdue.order_id.map(|id| id.to_string()),
        destination: overdue.destination.to_string(),
        since: overdue.since,
        seen: seen.into(),
    })
}

/// What one sweep found.
#[derive(Clone, Debug)]
pub(crate) struct Sweep {
    /// When.
    pub checked_at: Timestamp,
    /// The oldest of each kind.
    pub overdue: Vec<OverdueDelivery>,
    /// How many there are in all.
    pub overdue_total: u64,
}

/// The last sweep. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Swept(Arc<Mutex<Last>>);

#[derive(Debug, Default)]
struct Last {
    sweep: Option<Arc<Sweep>>,
    note: Option<String>,
}

impl Swept {
    /// The last sweep that was finished, and why the latest was not, where it was not.
    #[must_use]
    pub(crate) fn last(&self) -> (Option<Arc<Sweep>>, Option<String>) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (last.sweep.clone(), last.note.clone())
    }

    pub(super) fn swept(&self, sweep: Sweep) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Last { sweep: Some(Arc::new(sweep)), note: None };
    }

    pub(super) fn note(&self, note: Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note = note;
    }
}
