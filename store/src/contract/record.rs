//! What is known of an order and its deliveries.

use std::collections::BTreeMap;

use common::{
    destination::Name,
    event::{EventId, OrderCreated},
    order::{CorrelationId, OrderId},
    outcome::{Attempt, Outcome, OutcomeStatus, Progress, Reason},
    status::{DeliveryStatus, OrderStatus, fold},
    word::Word,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An order with its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRecord {
    /// The order, as the event that was published.
    pub event: OrderCreated,
    /// The destinations that were configured when it was accepted.
    pub destinations: Vec<Name>,
    /// The deliveries that something was reported of, in any order.
    pub recorded: Vec<DeliveryRecord>,
}

/// A delivery, as it is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    pub entry: LedgerEntry,
    /// Whether it is pending: it has never ended, or its dead letter is being sent again.
    pub pending: bool,
}

/// What the ledger has of a delivery: its attempts, and how it ended last.
///
/// An [`Outcome`] with additions: what an outcome wrote is read as an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    pub event_id: EventId,
    pub order_id: OrderId,
    pub correlation_id: CorrelationId,
    pub destination: Name,
    /// How it ended last; `None` if it never has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<OutcomeStatus>,
    /// Present if and only if it was dead-lettered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word<Reason>>,
    /// Its attempts, oldest first: of very many, the first and the last.
    pub attempts: Vec<Attempt>,
    /// Those in between, which are only counted.
    #[serde(default, skip_serializing_if = "Omitted::is_none")]
    pub omitted: Omitted,
    /// When it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// The dead letter that it redrove when it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Uuid>,
    /// When it is attempted again, as far as that was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
}

/// Attempts that are counted and not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omitted {
    /// How many there are.
    pub count: u32,
    /// How many of them count against the limit on attempts.
    pub spent: u32,
}

impl Omitted {
    fn is_none(&self) -> bool {
        self.count == 0
    }
}

impl LedgerEntry {
    /// This many attempts are kept from the beginning, if not all can be.
    pub const FIRST: usize = 10;
    /// And this many from the end.
    pub const LAST: usize = 90;
}

impl From<&Outcome> for LedgerEntry {
    fn from(outcome: &Outcome) -> Self {
        let Outcome { event_id, order_id, status, settled_at, dead_letter, .. } = *outcome;
        Self {
            event_id,
            order_id,
            correlation_id: outcome.correlation_id.clone(),
            destination: outcome.destination.clone(),
            status: Some(status),
            reason: outcome.reason.clone(),
            attempts: outcome.attempts.clone(),
            omitted: Omitted::default(),
            settled_at: Some(settled_at),
            dead_letter,
            next_attempt_at: None,
        }
    }
}

impl From<&Progress> for LedgerEntry {
    fn from(progress: &Progress) -> Self {
        Self {
            event_id: progress.event_id,
            order_id: progress.order_id,
            correlation_id: progress.correlation_id.clone(),
            destination: progress.destination.clone(),
            status: None,
            reason: None,
            attempts: progress.attempts.clone(),
            omitted: Omitted::default(),
            settled_at: None,
            dead_letter: None,
            next_attempt_at: Some(progress.next_attempt_at),
        }
    }
}

impl DeliveryRecord {
    /// The delivery's status.
    #[must_use]
    pub fn status(&self) -> DeliveryStatus {
        match self.entry.status {
            _ if self.pending => DeliveryStatus::Pending,
            None => DeliveryStatus::Pending,
            Some(OutcomeStatus::Delivered) => DeliveryStatus::Delivered,
            Some(OutcomeStatus::DeadLettered) => DeliveryStatus::DeadLettered,
        }
    }
}

impl OrderRecord {
    /// The status of each delivery: to the destinations at acceptance, and to any that were reported since.
    #[must_use]
    pub fn deliveries(&self) -> BTreeMap<&str, DeliveryStatus> {
        let pending = self.destinations.iter().map(|name| (name.as_str(), DeliveryStatus::Pending));
        let recorded = self.recorded.iter().map(|delivery| (delivery.entry.destination.as_str(), delivery.status()));
        pending.chain(recorded).collect()
    }

    /// The order's status, over all its deliveries.
    #[must_use]
    pub fn status(&self) -> OrderStatus {
        fold(self.deliveries().into_values())
    }
}
