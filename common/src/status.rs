//! How far a delivery is, and an order over all its deliveries.

use serde::Serialize;
use utoipa::ToSchema;

/// How far one delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// The destination has not accepted it yet.
    Pending,
    /// The destination has accepted it.
    Delivered,
    /// It waits in the dead-letter queue.
    DeadLettered,
}

/// How far an order is, over all its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Some delivery is pending.
    Pending,
    /// Every destination has accepted it.
    Delivered,
    /// Some destination has accepted it, and some delivery is dead-lettered.
    PartiallyDelivered,
    /// Every delivery is dead-lettered.
    DeadLettered,
}

impl OrderStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::PartiallyDelivered, Self::DeadLettered];

    /// The word used in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::PartiallyDelivered => "partially_delivered",
            Self::DeadLettered => "dead_lettered",
        }
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
