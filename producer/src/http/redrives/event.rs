//! The event that a dead letter is sent with in place of its own: an event of the same order.

use common::event::{self, Decoded, EventId};
use serde_json::Value;
use store::DeadLetterDetails;

use crate::http::edge::{
    faults::{Faults, Flaw, Pointer},
    json::{self, Tree},
    problem::{INVALID_REDRIVE, Problem},
};

/// The bytes that go on the wire. The event keeps the id of the dead letter's own, and so its key, unless
/// `new_key` asks for a fresh one.
pub(super) fn event_to_send(event: &Value, original: &DeadLetterDetails, new_key: bool) -> Result<Vec<u8>, Problem> {
    let body = Pointer::BODY;
    let at = body.field("body");
    let refused = |at: &Pointer<'_>, rule: &'static str| {
        let mut faults = Faults::default();
        faults.add(at, &Flaw::rule(rule));
        Problem::invalid(&INVALID_REDRIVE, "redrive", faults)
    };
    let mut event = match event {
        Value::String(text) => json::read::<Tree>(text.as_bytes())
            .map_err(|_| refused(&at, "must contain JSON, nested no deeper than a request"))?,
        other => other.clone(),
    };
    let Some(object) = event.as_object_mut() else { return Err(refused(&at, "must be an object")) };
    let known = event::identity(&original.content.body).map(|identity| identity.event_id.0.to_string());
    // A stranger's message may have any id, and an event's is a UUID.
    let uuid = |id: &&str| uuid::Uuid::parse_str(id).is_ok();
    let message_id =
        || original.content.properties.get("message_id").and_then(Value::as_str).filter(uuid).map(str::to_owned);
    let event_id = if new_key { Some(EventId::fresh().0.to_string()) } else { known.or_else(message_id) };
    if let Some(event_id) = event_id {
        object.insert("event_id".to_owned(), Value::String(event_id));
    }
    let bytes = event.to_string().into_bytes();
    let order_id = match event::decode(&bytes) {
        Ok(Decoded::OrderCreated(order)) => order.order_id,
        _ => return Err(refused(&at, "must be an OrderCreated event, as in the queue: its own body with changes")),
    };
    match original.letter.order_id {
        Some(wanted) if wanted != order_id => {
            Err(refused(&at.field("order_id"), "must be the order of the dead letter"))
        }
        _ => Ok(bytes),
    }
}
