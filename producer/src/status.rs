//! Status: an order as it is shown, folded from the order and the ledger.

use std::collections::BTreeMap;

use common::{
    order::{CorrelationId, CustomerId, Items, OrderId},
    outcome::{Attempt, Reason},
    status::{DeliveryStatus, OrderStatus},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use store::{Known, Recorded};

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
    fn from(recorded: Recorded) -> Self {
        let status = recorded.status();
        let attempts = recorded.outcome.attempts;
        if status == DeliveryStatus::Pending {
            return Self { attempts, ..Self::pending() };
        }
        Self { status, reason: recorded.outcome.reason, attempts, settled_at: Some(recorded.outcome.settled_at) }
    }
}

impl From<Known> for OrderView {
    fn from(known: Known) -> Self {
        let status = known.status();
        let Known { event, destinations, outcomes } = known;
        let mut deliveries: BTreeMap<_, _> =
            destinations.into_iter().map(|name| (name.to_string(), DeliveryView::pending())).collect();
        for recorded in outcomes {
            deliveries.insert(recorded.outcome.destination.to_string(), DeliveryView::from(recorded));
        }
        Self {
            order_id: event.order_id,
            correlation_id: event.correlation_id,
            customer_id: event.customer_id,
            items: event.items,
            status,
            created_at: event.occurred_at,
            deliveries,
        }
    }
}
