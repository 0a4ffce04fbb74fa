//! What a dead letter says about itself: whose it is, why it died, and what makes it recognisable.

use common::{
    broker::dead_letter::{DeadLetter, Death},
    event::{self, Decoded, Identity},
    origin::Origin,
    outcome::{Reason, Report},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use store::{Collected, Content};

/// How long a report is waited for: it is confirmed by the broker before its dead letter is made, but
/// may not be recorded yet.
const REPORT_WITHIN: SignedDuration = SignedDuration::from_secs(5);
/// Headers that differ each time the broker hands the same message out.
const COUNTED: &str = "x-delivery-count";

/// Reads a dead letter, taken `now` by a session that began at `since`.
pub(super) fn read(dead: DeadLetter, origin: &Origin, since: Timestamp, now: Timestamp) -> Collected {
    let (death, died_at, parent) = (dead.death(), dead.died_at(), dead.redriven());
    let DeadLetter { body, redelivered, message_id, headers, properties, deaths } = dead;
    let content = Content { body, headers, properties, deaths };
    let facts = read_body(&content.body, origin);
    let (reason, error) = match (facts.error, death) {
        (Some(error), _) => (Some(Reason::Unreadable), Some(error)),
        (None, Some(Death::DeliveryLimit)) => (Some(Reason::DeliveryLimit), None),
        (None, Some(Death::Rejected)) => (None, None),
        // None of a worker's doing, so that nobody reports it.
        (None, Some(Death::Expired)) => {
            (Some(Reason::Unreported), Some("it waited in its queue for too long".to_owned()))
        }
        (None, Some(Death::MaxLength)) => (Some(Reason::Unreported), Some("its queue was full".to_owned())),
        (None, Some(Death::Other)) => (Some(Reason::Unreported), Some("the broker gave it up".to_owned())),
        (None, None) => (Some(Reason::Unreported), Some("it was put into the dead-letter queue by hand".to_owned())),
    };
    let (fingerprint, otherwise) = match message_id {
        Some(message_id) => (of_ours(origin, message_id, parent, &content.body), None),
        None => {
            let known = of_strangers(origin, &content);
            // What was never handed out before cannot be one that is stored: a twin.
            (known, (!redelivered).then(|| salted(known)))
        }
    };
    let died_at = died_at.unwrap_or(now);
    let report_by = (died_at.max(since) + REPORT_WITHIN).min(now + REPORT_WITHIN);
    Collected {
        fingerprint,
        otherwise,
        origin: origin.clone(),
        identity: facts.identity,
        reason,
        error,
        died_at,
        accepted_at: facts.accepted_at,
        parent,
        report_by,
        content,
    }
}

/// What the body says.
struct BodyFacts {
    identity: Option<Identity>,
    accepted_at: Option<Timestamp>,
    /// Why it cannot be read.
    error: Option<String>,
}

fn read_body(body: &[u8], origin: &Origin) -> BodyFacts {
    let nothing = BodyFacts { identity: None, accepted_at: None, error: None };
    if *origin == Origin::Reports {
        let fault = serde_json::from_slice::<Report>(body).err();
        return BodyFacts { error: fault.map(|fault| event::Unreadable::from(fault).to_string()), ..nothing };
    }
    match event::decode(body) {
        Ok(Decoded::OrderCreated(event)) => {
            let (event_id, order_id) = (event.event_id, event.order_id);
            let identity = Identity { event_id, order_id, correlation_id: event.correlation_id };
            BodyFacts { identity: Some(identity), accepted_at: Some(event.occurred_at), error: None }
        }
        Ok(Decoded::Unknown { .. }) => nothing,
        Err(fault) => BodyFacts { identity: event::identity(body), error: Some(fault.to_string()), ..nothing },
    }
}

/// A message with an id of ours is the same one wherever it is, until it is sent again. A stranger may
/// use one id twice, but then the body is another.
fn of_ours(origin: &Origin, message_id: Uuid, parent: Option<Uuid>, body: &[u8]) -> [u8; 32] {
    let mut hash = begun(origin);
    hash.update(message_id.as_bytes());
    hash.update(parent.unwrap_or_default().as_bytes());
    hash.update(body);
    hash.finalize().into()
}

/// Any other message is known by all that it is.
fn of_strangers(origin: &Origin, content: &Content) -> [u8; 32] {
    let mut hash = begun(origin);
    let headers: Map<String, Value> = content
        .headers
        .iter()
        .filter(|(name, _)| *name != COUNTED)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for part in
        [Value::Object(headers), Value::Object(content.properties.clone()), Value::Array(content.deaths.clone())]
    {
        let part = part.to_string();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(&content.body);
    hash.finalize().into()
}

fn begun(origin: &Origin) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(origin.as_str());
    hash.update([0]);
    hash
}

fn salted(fingerprint: [u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(fingerprint).chain_update(Uuid::new_v4()).finalize().into()
}

#[cfg(test)]
mod tests;
