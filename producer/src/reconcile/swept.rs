//! What the last sweep found.

use std::sync::{Arc, Mutex, PoisonError};

use common::order::OrderId;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use store::Found;

/// Where an overdue delivery was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// In the outbox, though the relay publishes.
    Outbox,
    /// Confirmed by the broker; no message and no outcome since.
    Published,
    /// Its dead letter was sent again; no message and no outcome since.
    Redriving,
}

impl Seen {
    /// The word used in JSON and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Published => "published",
            Self::Redriving => "redriving",
        }
    }
}

/// A delivery that is pending though nothing in the system will end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OverdueDelivery)]
pub struct Finding {
    /// The order; null where a dead letter that was sent again names none.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub order_id: Option<OrderId>,
    /// Whose delivery it is.
    pub destination: String,
    /// When the order was accepted, or the dead letter sent again.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Where it was seen last.
    pub seen: Seen,
}

impl Finding {
    pub(super) fn of(seen: Seen, found: &Found) -> impl Iterator<Item = Self> {
        found.overdue.iter().map(move |overdue| Self {
            order_id: overdue.order_id,
            destination: overdue.destination.to_string(),
            since: overdue.since,
            seen,
        })
    }
}

/// What one sweep found.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// When.
    pub checked_at: Timestamp,
    /// The oldest of each kind.
    pub overdue: Vec<Finding>,
    /// How many there are in all.
    pub overdue_total: u64,
}

/// The last sweep. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Swept(Arc<Mutex<Last>>);

#[derive(Debug, Default)]
struct Last {
    sweep: Option<Arc<Sweep>>,
    note: Option<String>,
}

impl Swept {
    /// The last sweep that was finished, and why the latest was not, where it was not.
    #[must_use]
    pub fn last(&self) -> (Option<Arc<Sweep>>, Option<String>) {
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
