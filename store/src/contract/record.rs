//! What is known of an order and its deliveries.

use std::collections::BTreeMap;

use common::{
    destination::Name,
    event::OrderCreated,
    outcome::{Outcome, OutcomeStatus},
    status::{DeliveryStatus, OrderStatus, fold},
};

/// An order with the outcomes of its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRecord {
    /// The order, as the event that was published.
    pub event: OrderCreated,
    /// The destinations that were configured when it was accepted.
    pub destinations: Vec<Name>,
    /// The deliveries that have ended at least once, in any order.
    pub outcomes: Vec<DeliveryRecord>,
}

/// How a delivery ended, as it is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    pub outcome: Outcome,
    /// Whether it is pending again, because its dead letter is being sent again.
    pub redriving: bool,
}

impl DeliveryRecord {
    /// The delivery's status: pending while its dead letter is being sent again.
    #[must_use]
    pub fn status(&self) -> DeliveryStatus {
        match self.outcome.status {
            _ if self.redriving => DeliveryStatus::Pending,
            OutcomeStatus::Delivered => DeliveryStatus::Delivered,
            OutcomeStatus::DeadLettered => DeliveryStatus::DeadLettered,
        }
    }
}

impl OrderRecord {
    /// The status of each delivery: to the destinations at acceptance, and to any that were reported since.
    #[must_use]
    pub fn deliveries(&self) -> BTreeMap<&str, DeliveryStatus> {
        let pending = self.destinations.iter().map(|name| (name.as_str(), DeliveryStatus::Pending));
        let recorded = self.outcomes.iter().map(|delivery| (delivery.outcome.destination.as_str(), delivery.status()));
        pending.chain(recorded).collect()
    }

    /// The order's status, over all its deliveries.
    #[must_use]
    pub fn status(&self) -> OrderStatus {
        fold(self.deliveries().into_values())
    }
}
