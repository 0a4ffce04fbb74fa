//! The outcome of a delivery, and the report that carries it.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};
use uuid::Uuid;

use crate::{
    destination::Name,
    event::{EventId, Identity, now},
    order::{CorrelationId, OrderId},
    word::Word,
    words,
};

words! {
    /// How a delivery ended.
    pub enum OutcomeStatus {
        /// The destination accepted it.
        Delivered = "delivered",
        /// It has become a dead letter.
        DeadLettered = "dead_lettered",
    }
}

words! {
    /// Why a delivery was dead-lettered. The list grows: a reader keeps a reason that it does not know as text.
    pub enum Reason {
        /// The destination answered with a status that retrying will not change.
        Rejected = "rejected",
        /// Every attempt failed in a way that might have been temporary.
        AttemptsExhausted = "attempts_exhausted",
        /// The body of the message is not a readable event.
        Unreadable = "unreadable",
        /// The worker's code for the destination panicked on this order.
        WorkerPanic = "worker_panic",
        /// The message was returned to its queue more often than the delivery limit allows.
        DeliveryLimit = "delivery_limit",
        /// It was found in the dead-letter queue without a report of the reason.
        Unreported = "unreported",
        /// It was not delivered within the time that deliveries are retried for.
        Expired = "expired",
        /// Somebody ended it while it waited for its next attempt.
        Cancelled = "cancelled",
    }
}

/// One HTTP call, as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// When it began (RFC 3339, UTC).
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The status code of the response, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// What went wrong, if there was no response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The beginning of what the API said, if it said something that a person can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Absent if it counts as one of the attempts of its delivery; `false` if the API never got it, or asked
    /// to be left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<bool>,
}

impl Attempt {
    /// Whether it counts as one of the attempts of its delivery.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.spent != Some(false)
    }
}

/// An error as it may be logged and kept: one line of at most `max_chars` characters.
#[must_use]
pub fn one_line(error: &str, max_chars: usize) -> String {
    error.chars().filter(|c| !c.is_control()).take(max_chars).collect()
}

/// How one delivery ended.
#[expect(missing_docs, reason = "the types say it")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub event_id: EventId,
    pub order_id: OrderId,
    pub correlation_id: CorrelationId,
    pub destination: Name,
    pub status: OutcomeStatus,
    /// Present if and only if it was dead-lettered.
    #[serde(default, deserialize_with = "reason", skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word<Reason>>,
    /// Every attempt of this delivery, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it ended.
    pub settled_at: Timestamp,
    /// The dead letter that this delivery redrove; `None` for the first delivery of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Uuid>,
}

/// Longest reason that is taken from outside, in bytes: it becomes a part of indexes.
const MAX_REASON_BYTES: usize = 64;

/// A reason, also of a newer version, as long as it is a word.
fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Word<Reason>>, D::Error> {
    let is_word = |text: &str| {
        (1..=MAX_REASON_BYTES).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    match Option::<Word<Reason>>::deserialize(deserializer)? {
        Some(Word::Other(text)) if !is_word(&text) => Err(de::Error::custom("a reason that is no word")),
        reason => Ok(reason),
    }
}

impl Outcome {
    /// The outcome of an event of which only the ids can be read.
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
            reason: Some(Reason::Unreadable.into()),
            attempts: Vec::new(),
            settled_at: now(),
            dead_letter,
        }
    }
}

/// What is known of a delivery that has not ended: it waits for its next attempt.
#[expect(missing_docs, reason = "the types say it")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub event_id: EventId,
    pub order_id: OrderId,
    pub correlation_id: CorrelationId,
    pub destination: Name,
    /// The dead letter that this delivery redrives; `None` for the first delivery of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Uuid>,
    /// The attempts that were not reported before, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it is attempted again.
    pub next_attempt_at: Timestamp,
    /// Present if the worker holds it no longer: the producer publishes it again when its time has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
}

/// A delivery that waits in the store, because its wait is long or a worker has no room for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The body of the message, unchanged.
    pub event: String,
    /// The trace context of its publisher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// How many of its attempts count. `None` if this worker does not know: the message was with another one
    /// before, and the ledger has what that one reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<u32>,
    /// Whether an attempt had no answer, so that the API may still be working on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
    /// When it expires.
    pub retry_until: Timestamp,
}

/// The most outcomes in one report.
pub const MAX_REPORTED: usize = 64;

/// A message on the queue of reports. It carries many, because a message for each would double
/// the broker's work. A worker writes it with references to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report<O = Outcome, P = Progress> {
    /// The outcomes.
    pub outcomes: Vec<O>,
    /// Deliveries that wait. An earlier version does not know them.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<P>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_word_everywhere() -> Result<(), serde_json::Error> {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_string(&reason)?, format!("\"{}\"", reason.as_str()));
        }
        Ok(())
    }

    #[test]
    fn a_reason_of_a_newer_version_is_kept_if_it_is_a_word() -> Result<(), Box<dyn std::error::Error>> {
        let identity =
            Identity { event_id: EventId::fresh(), order_id: OrderId::new(), correlation_id: CorrelationId::fresh() };
        let mut json = serde_json::to_value(Outcome::unreadable(identity, "north".parse()?, None))?;
        for (field, value) in [("reason", "outcome_unknown"), ("new", "x")] {
            json[field] = value.into();
        }
        let outcome: Outcome = serde_json::from_value(json.clone())?;
        assert_eq!(outcome.reason, Some(Word::Other("outcome_unknown".to_owned())));
        assert_eq!(serde_json::to_value(&outcome)?["reason"], "outcome_unknown");
        for bad in ["", "A", "a\0", "a b", &"a".repeat(65)] {
            json["reason"] = bad.into();
            assert!(serde_json::from_value::<Outcome>(json.clone()).is_err(), "{bad:?}");
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
