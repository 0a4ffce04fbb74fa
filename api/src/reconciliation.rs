//! Reconciliation: deliveries that nothing in the system will end.

use common::{word::Word, words};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// What the last sweep found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Reconciliation {
    /// When it was finished; null before the first.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub checked_at: Option<Timestamp>,
    /// Deliveries that are pending though nothing in the system will end them: the oldest 1000 of each
    /// destination and kind.
    pub overdue: Vec<OverdueDelivery>,
    /// How many there are in all.
    pub overdue_total: u64,
    /// Why a later sweep could not tell, where it could not.
    pub detail: Option<String>,
}

/// A delivery that is pending though nothing in the system will end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct OverdueDelivery {
    /// The order; null where a dead letter that was sent again names none.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub order_id: Option<String>,
    /// Whose delivery it is.
    pub destination: String,
    /// When the order was accepted, or the dead letter sent again.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Where it was seen last.
    #[cfg_attr(feature = "openapi", schema(value_type = Seen))]
    pub seen: Word<Seen>,
}

words! {
    /// Where an overdue delivery was seen last.
    pub enum Seen {
        /// In the outbox, though the relay publishes.
        Outbox = "outbox",
        /// Confirmed by the broker; no message and no outcome since.
        Published = "published",
        /// Its dead letter was sent again; no message and no outcome since.
        Redriving = "redriving",
    }
}
