//! What a dead letter says about itself: whose it is, why it died, and what makes it recognisable.

use common::{
    broker::dead_letter::{DeadLetter, Death},
    event::{self, Decoded, Identity},
    origin::Origin,
    outcome::{Reason, Report},
};
use jiff::{SignedDuration, Timestamp};
use store::{Collected, Content, fingerprint};

/// How long a report is waited for: it is confirmed by the broker before its dead letter is made, but
/// may not be recorded yet.
const REPORT_WITHIN: SignedDuration = SignedDuration::from_secs(5);

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
        Some(message_id) => (fingerprint::of_ours(origin, message_id, parent, &content.body), None),
        None => {
            let known = fingerprint::of_strangers(origin, &content);
            // What was never handed out before cannot be one that is stored: a twin.
            (known, (!redelivered).then(|| fingerprint::salted(known)))
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

#[cfg(test)]
mod tests;
