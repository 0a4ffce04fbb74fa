//! Upkeep: what is old and done is taken out of the store, in small batches.

use common::order::OrderId;
use jiff::Timestamp;

use super::Answer;

/// What came of one batch of the sweep over old orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptOrders {
    /// How many were removed.
    pub removed: u32,
    /// Where the next batch begins: after this order. None where no older one is left to look at.
    pub next: Option<OrderId>,
}

/// What is asked for upkeep. Each call is one short transaction.
pub trait Upkeep {
    /// Removes idempotency keys that were first used at this time or before: at most `limit`. Tells how
    /// many were removed.
    fn sweep_keys(&self, used_up_to: Timestamp, limit: u32) -> Answer<'_, u32>;

    /// Looks at orders that were accepted before this time, oldest first, beyond `after`, at most
    /// `limit`, and removes those that are delivered everywhere, with their deliveries and with dead
    /// letters of theirs that were sent again. An order that is pending or has a dead letter stays.
    fn sweep_orders(&self, accepted_before: Timestamp, after: Option<OrderId>, limit: u32) -> Answer<'_, SweptOrders>;
}
