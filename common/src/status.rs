//! The states of deliveries, orders, dead letters and redrives.

use crate::words;

words! {
    /// The status of a delivery.
    pub enum DeliveryStatus {
        /// The destination has not accepted it yet.
        Pending = "pending",
        /// The destination has accepted it.
        Delivered = "delivered",
        /// It has become a dead letter.
        DeadLettered = "dead_lettered",
    }
}

words! {
    /// The status of an order, over all its deliveries.
    pub enum OrderStatus {
        /// At least one delivery is pending.
        Pending = "pending",
        /// Every destination has accepted it.
        Delivered = "delivered",
        /// No delivery is pending; at least one is delivered and at least one is dead-lettered.
        PartiallyDelivered = "partially_delivered",
        /// Every delivery is dead-lettered.
        DeadLettered = "dead_lettered",
    }
}

words! {
    /// The state of a dead letter.
    #[cfg_attr(feature = "openapi", schema(as = State))]
    pub enum DeadLetterState {
        /// It waits for an operator.
        Dead = "dead",
        /// It is being sent again.
        Redriving = "redriving",
        /// It was sent again and failed again, as a later dead letter.
        Redriven = "redriven",
        /// Its destination has accepted it.
        Delivered = "delivered",
    }
}

words! {
    /// The status of a redrive.
    pub enum RedriveStatus {
        /// It is sending.
        Running = "running",
        /// An operator has paused it.
        Paused = "paused",
        /// It has stopped automatically; `detail` says why.
        Stopped = "stopped",
        /// Everything that it sent has ended.
        Completed = "completed",
        /// An operator has cancelled it: what it has sent runs to its end, the rest stays dead.
        Cancelled = "cancelled",
    }
}

words! {
    /// Why a dead letter is left out of a redrive.
    pub enum Refusal {
        /// Its idempotency key was first used so long ago that the destination may have forgotten it: sending
        /// it again could have a second effect.
        KeyExpired = "key_expired",
        /// Another redrive, which has not ended, includes it.
        InAnotherRedrive = "in_another_redrive",
        /// Its destination is not configured, so it has no queue.
        UnknownDestination = "unknown_destination",
        /// It is an event of a type that no worker knows, so no outcome would be reported.
        UnknownEvent = "unknown_event",
        /// It has been delivered, or has been sent again already.
        NotDead = "not_dead",
        /// There is no such dead letter.
        NotFound = "not_found",
    }
}

/// The status of an order, from those of its deliveries.
#[must_use]
pub fn fold(deliveries: impl IntoIterator<Item = DeliveryStatus>) -> OrderStatus {
    let (mut pending, mut delivered, mut dead) = (false, false, false);
    for delivery in deliveries {
        match delivery {
            DeliveryStatus::Pending => pending = true,
            DeliveryStatus::Delivered => delivered = true,
            DeliveryStatus::DeadLettered => dead = true,
        }
    }
    match (pending, delivered, dead) {
        (true, _, _) => OrderStatus::Pending,
        (false, true, true) => OrderStatus::PartiallyDelivered,
        (false, false, true) => OrderStatus::DeadLettered,
        (false, _, false) => OrderStatus::Delivered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_an_order_follows_from_its_deliveries() {
        use DeliveryStatus::{DeadLettered as X, Delivered as D, Pending as P};
        let table = [
            (vec![P, P], OrderStatus::Pending),
            (vec![P, D], OrderStatus::Pending),
            (vec![P, X], OrderStatus::Pending),
            (vec![D, D], OrderStatus::Delivered),
            (vec![D, X], OrderStatus::PartiallyDelivered),
            (vec![X, X], OrderStatus::DeadLettered),
            (vec![X], OrderStatus::DeadLettered),
        ];
        for (deliveries, expected) in table {
            assert_eq!(fold(deliveries.clone()), expected, "{deliveries:?}");
        }
    }
}
