//! The outcome of a delivery: how it ended, and the report that says so.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    destination::Name,
    event::{EventId, Identity, now},
    order::{CorrelationId, OrderId},
};

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    /// The destination accepted it.
    Delivered,
    /// It waits in the dead-letter queue.
    DeadLettered,
}

impl OutcomeStatus {
    /// The word used in JSON, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

/// Why a delivery was dead-lettered. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The destination answered with a status that no repetition will change.
    Rejected,
    /// Every attempt failed for a reason that might have passed.
    AttemptsExhausted,
    /// The body in the queue is no event.
    Unreadable,
    /// The destination's code in the worker panicked on this order.
    WorkerPanic,
    /// The broker gave up: the message came back more often than the queue's delivery limit.
    DeliveryLimit,
    /// It was found in the dead-letter queue, and nobody has said why.
    Unreported,
}

impl Reason {
    /// Every reason, for counters that start at zero.
    pub const ALL: [Self; 6] = [
        Self::Rejected,
        Self::AttemptsExhausted,
        Self::Unreadable,
        Self::WorkerPanic,
        Self::DeliveryLimit,
        Self::Unreported,
    ];

    /// The word used in JSON, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Unreadable => "unreadable",
            Self::WorkerPanic => "worker_panic",
            Self::DeliveryLimit => "delivery_limit",
            Self::Unreported => "unreported",
        }
    }
}

/// One HTTP call, as it is remembered and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// When it began (RFC 3339, UTC).
    #[schema(value_type = String, format = DateTime)]
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

/// What travels on the outcomes queue: outcomes gathered into one message, because a message each
/// would double the broker's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// At least one.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Most outcomes in one message.
    pub const MAX_OUTCOMES: usize = 64;
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
