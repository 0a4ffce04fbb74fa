//! Status: an order as it is shown, folded from the order and the ledger.

use std::collections::BTreeMap;

use common::{
    order::{CorrelationId, CustomerId, Items, OrderId},
    outcome::{Attempt, OutcomeStatus, Reason},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::{Known, Recorded};

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

/// One delivery of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeliveryView {
    /// How far it is.
    pub status: DeliveryStatus,
    /// Why it was dead-lettered; set exactly then.
    pub reason: Option<Reason>,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub settled_at: Option<Timestamp>,
}

/// An order as it is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OrderView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub order_id: OrderId,
    /// The request that placed it.
    #[schema(value_type = String)]
    pub correlation_id: CorrelationId,
    /// Who placed it.
    #[schema(value_type = String)]
    pub customer_id: CustomerId,
    /// What was ordered.
    #[schema(value_type = Vec<crate::http::schema::Item>)]
    pub items: Items,
    /// How far it is, over all deliveries.
    pub status: OrderStatus,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Each destination's delivery, by the destination's name.
    pub deliveries: BTreeMap<String, DeliveryView>,
}

impl DeliveryView {
    /// A delivery of which nothing has been heard yet.
    #[must_use]
    pub fn pending() -> Self {
        Self { status: DeliveryStatus::Pending, reason: None, attempts: Vec::new(), settled_at: None }
    }
}

impl From<Recorded> for DeliveryView {
    fn from(Recorded { outcome, redriving }: Recorded) -> Self {
        let status = match outcome.status {
            // While it is sent again it is pending, with its earlier attempts.
            _ if redriving => return Self { attempts: outcome.attempts, ..Self::pending() },
            OutcomeStatus::Delivered => DeliveryStatus::Delivered,
            OutcomeStatus::DeadLettered => DeliveryStatus::DeadLettered,
        };
        Self { status, reason: outcome.reason, attempts: outcome.attempts, settled_at: Some(outcome.settled_at) }
    }
}

impl From<Known> for OrderView {
    fn from(Known { event, destinations, outcomes }: Known) -> Self {
        // Whoever was to be told when the order was accepted, and whoever else was told meanwhile.
        let mut deliveries: BTreeMap<_, _> =
            destinations.into_iter().map(|name| (name, DeliveryView::pending())).collect();
        for recorded in outcomes {
            deliveries.insert(recorded.outcome.destination.clone(), DeliveryView::from(recorded));
        }
        Self {
            order_id: event.order_id,
            correlation_id: event.correlation_id,
            customer_id: event.customer_id,
            items: event.items,
            status: fold(deliveries.values().map(|delivery| delivery.status)),
            created_at: event.occurred_at,
            deliveries,
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
