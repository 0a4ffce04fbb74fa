//! The outcome of a delivery: how it ended, and the report that says so.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    destination::Name,
    event::{EventId, Identity, now},
    order::{CorrelationId, OrderId},
    words,
};

words! {
    /// How a delivery ended.
    pub enum OutcomeStatus {
        /// The destination accepted it.
        Delivered = "delivered",
        /// It waits in the dead-letter queue.
        DeadLettered = "dead_lettered",
    }
}

words! {
    /// Why a delivery was dead-lettered. The list is closed.
    pub enum Reason {
        /// The destination answered with a status that no repetition will change.
        Rejected = "rejected",
        /// Every attempt failed for a reason that might have passed.
        AttemptsExhausted = "attempts_exhausted",
        /// The body in the queue is no event.
        Unreadable = "unreadable",
        /// The destination's code in the worker panicked on this order.
        WorkerPanic = "worker_panic",
        /// The broker gave up: the message came back more often than the queue's delivery limit.
        DeliveryLimit = "delivery_limit",
        /// It was found in the dead-letter queue, and nobody has said why.
        Unreported = "unreported",
    }
}

/// One HTTP call, as it is remembered and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// When it began (RFC 3339, UTC).
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The status of the answer, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// What went wrong, where there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How one delivery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The event that was delivered.
    pub event_id: EventId,
    /// The order it spoke of.
    pub order_id: OrderId,
    /// The request it belongs to.
    pub correlation_id: CorrelationId,
    /// The destination's name.
    pub destination: Name,
    /// The end.
    pub status: OutcomeStatus,
    /// Set exactly when dead-lettered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Every attempt of this delivery, oldest first.
    pub attempts: Vec<Attempt>,
    /// When the end was known.
    pub settled_at: Timestamp,
    /// The dead letter that was sent again and ended so; none of an event's first way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Uuid>,
}

impl Outcome {
    /// The outcome of an event that cannot be read, except for its ids.
    #[must_use]
    pub fn unreadable(
        Identity { event_id, order_id, correlation_id }: Identity,
        destination: Name,
        dead_letter: Option<Uuid>,
    ) -> Self {
        Self {
            event_id,
            order_id,
            correlation_id,
            destination,
            status: OutcomeStatus::DeadLettered,
            reason: Some(Reason::Unreadable),
            attempts: Vec::new(),
            settled_at: now(),
            dead_letter,
        }
    }
}

/// The most outcomes that a worker puts into one report.
pub const MAX_REPORTED: usize = 64;

/// A message on the queue of reports. It gathers outcomes, because a message for each would double
/// the broker's work. A worker writes it with references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report<O = Outcome> {
    /// At least one.
    pub outcomes: Vec<O>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_one_word_everywhere() -> Result<(), serde_json::Error> {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_string(&reason)?, format!("\"{}\"", reason.as_str()));
        }
        Ok(())
    }

    #[test]
    fn an_outcome_without_the_name_of_a_destination_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let identity =
            Identity { event_id: EventId::fresh(), order_id: OrderId::new(), correlation_id: CorrelationId::fresh() };
        let outcome = Outcome::unreadable(identity, "north-1".parse()?, None);
        let mut json = serde_json::to_value(&outcome)?;
        assert_eq!(serde_json::from_value::<Outcome>(json.clone())?, outcome);
        for bad in ["", "a\0", "a,b", "A", &"a".repeat(65), "outcomes"] {
            json["destination"] = bad.into();
            assert!(serde_json::from_value::<Outcome>(json.clone()).is_err(), "{bad:?}");
        }
        Ok(())
    }
}
