//! The dead letter of a delivery that a worker has given up. It is listed with the report, and the copy in
//! the dead-letter queue, which comes later, is recognised as the same one.

use common::{
    broker::dead_letter::REDRIVEN,
    event::{self, Decoded, Identity},
    origin::Origin,
    outcome::{Outcome, Reason},
    status::DeadLetterState,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Delivery, End};
use crate::{Collected, Content, LedgerEntry, fingerprint};

/// A delivery that has become a dead letter.
#[derive(Clone, Debug)]
pub(crate) struct Died {
    /// What the ledger has of it.
    pub(crate) entry: LedgerEntry,
    /// The event whose delivery it is.
    pub(crate) identity: Identity,
    /// The dead letter that was sent again and became this one.
    pub(crate) parent: Option<Uuid>,
}

/// The message that was to be delivered.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Map<String, Value>,
    pub(crate) properties: Map<String, Value>,
}

impl Published {
    /// A message as the relay publishes it.
    pub(crate) fn by_relay(body: Vec<u8>, traceparent: Option<&str>, event: &Identity) -> Self {
        let headers = traceparent.map(|trace| ("traceparent".to_owned(), trace.into())).into_iter().collect();
        let properties = json!({
            "content_type": "application/json",
            "correlation_id": event.correlation_id.as_str(),
            "delivery_mode": 2,
            "message_id": event.event_id.0.to_string(),
            "type": event::OrderCreatedType::VALUE,
        });
        let Value::Object(properties) = properties else { return Self { body, headers, properties: Map::new() } };
        Self { body, headers, properties }
    }
}

impl Died {
    /// The dead letter of a delivery that this outcome has ended, if it is one. What cannot be read is not the
    /// message that is known here: its dead letter is listed when it comes from its queue.
    pub(crate) fn of(delivery: &Delivery, outcome: &Outcome) -> Option<Self> {
        let unreadable = outcome.reason == Some(Reason::Unreadable.into());
        (delivery.is_dead() && !unreadable).then(|| {
            let Outcome { event_id, order_id, dead_letter, .. } = *outcome;
            let identity = Identity { event_id, order_id, correlation_id: outcome.correlation_id.clone() };
            Self { entry: delivery.entry.clone(), identity, parent: dead_letter }
        })
    }

    /// What is listed of it, and how it ended. `None` if the message is not the one that was reported on: then
    /// the dead letter is listed when it comes from its queue.
    pub(crate) fn letter(self, published: Published) -> Option<(Collected, End)> {
        let Self { entry, identity, parent } = self;
        let Published { body, mut headers, properties } = published;
        let event_id = identity.event_id.0;
        let Ok(Decoded::OrderCreated(order)) = event::decode(&body) else { return None };
        let message_id = properties.get("message_id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
        if order.event_id.0 != event_id || message_id != Some(event_id) {
            return None;
        }
        let reason = entry.reason.clone()?;
        let died_at = entry.settled_at?;
        let origin = Origin::from(entry.destination.clone());
        if let Some(parent) = parent {
            headers.insert(REDRIVEN.to_owned(), parent.to_string().into());
        }
        let letter = Collected {
            fingerprint: fingerprint::of_ours(&origin, event_id, parent, &body),
            otherwise: None,
            origin,
            identity: Some(identity),
            reason: reason.known(),
            error: None,
            died_at,
            accepted_at: Some(order.occurred_at),
            parent,
            report_by: Timestamp::MIN,
            content: Content { body, headers, properties, deaths: Vec::new() },
        };
        let end = End { state: DeadLetterState::Dead, reason, entry: Some(Box::new(entry)), changed: true };
        Some((letter, end))
    }
}
