//! How far things are: deliveries, orders over all their deliveries, dead letters and redrives.

use crate::words;

words! {
    /// How far one delivery is.
    pub enum DeliveryStatus {
        /// The destination has not accepted it yet.
        Pending = "pending",
        /// The destination has accepted it.
        Delivered = "delivered",
        /// It waits in the dead-letter queue.
        DeadLettered = "dead_lettered",
    }
}

words! {
    /// How far an order is, over all its deliveries.
    pub enum OrderStatus {
        /// Some delivery is pending.
        Pending = "pending",
        /// Every destination has accepted it.
        Delivered = "delivered",
        /// Some destination has accepted it, and some delivery is dead-lettered.
        PartiallyDelivered = "partially_delivered",
        /// Every delivery is dead-lettered.
        DeadLettered = "dead_lettered",
    }
}

words! {
    /// Where a dead letter is.
    #[cfg_attr(feature = "openapi", schema(as = State))]
    pub enum DeadLetterState {
        /// It waits for somebody.
        Dead = "dead",
        /// It is being sent again.
        Redriving = "redriving",
        /// It was sent again, and is dead again as a later one.
        Redriven = "redriven",
        /// Its destination has accepted it.
        Delivered = "delivered",
    }
}

words! {
    /// How far a redrive is.
    pub enum RedriveStatus {
        /// It sends.
        Running = "running",
        /// Somebody has paused it.
        Paused = "paused",
        /// It has stopped by itself; the detail says why.
        Stopped = "stopped",
        /// All that it sent has ended.
        Completed = "completed",
        /// Somebody has cancelled it: what was sent runs on, the rest waits as before.
        Cancelled = "cancelled",
    }
}

words! {
    /// Why a dead letter is not taken into a redrive.
    pub enum Refusal {
        /// Its key was first used so long ago that the destination may have forgotten it: sent again it
        /// could have a second effect.
        KeyExpired = "key_expired",
        /// A redrive that has not ended has it already.
        InAnotherRedrive = "in_another_redrive",
        /// Its destination is none of those that are configured: it has no queue.
        UnknownDestination = "unknown_destination",
        /// It is an event of a type that no worker knows: nothing would be heard of it.
        UnknownEvent = "unknown_event",
        /// It is delivered, or was sent again already.
        NotDead = "not_dead",
        /// There is no such dead letter.
        NotFound = "not_found",
    }
}

/// The order's status, from those of its deliveries.
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
    fn an_orders_status_is_folded_from_its_deliveries() {
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
        for (deliveries, wanted) in table {
            assert_eq!(fold(deliveries.clone()), wanted, "{deliveries:?}");
        }
    }
}
