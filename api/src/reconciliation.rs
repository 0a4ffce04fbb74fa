//! Reconciliation: deliveries that are stuck.

use common::{word::Word, words};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// What the last sweep found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Reconciliation {
    /// When it was finished; null before the first sweep.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub checked_at: Option<Timestamp>,
    /// Deliveries that are stuck: pending, with nothing left in the system that could end them. The oldest 1000
    /// of each destination and kind.
    pub overdue: Vec<OverdueDelivery>,
    /// How many there are in total.
    pub overdue_total: u64,
    /// Why a later sweep failed, if it did.
    pub detail: Option<String>,
}

/// A delivery that is stuck: pending, with nothing left in the system that could end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct OverdueDelivery {
    /// The order; null if a dead letter that was sent again names none.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub order_id: Option<String>,
    /// The destination of the delivery.
    pub destination: String,
    /// When the order was accepted, or the dead letter sent again.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Where it was last seen.
    #[cfg_attr(feature = "openapi", schema(value_type = Seen))]
    pub seen: Word<Seen>,
}

words! {
    /// Where an overdue delivery was last seen.
    pub enum Seen {
        /// In the outbox, although the relay publishes.
        Outbox = "outbox",
        /// Confirmed by the broker; no message and no outcome since.
        Published = "published",
        /// Its dead letter was sent again; no message and no outcome since.
        Redriving = "redriving",
    }
}
