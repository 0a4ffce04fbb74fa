//! What makes a dead letter recognisable when it comes again.

use common::origin::Origin;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::Content;

/// Headers that differ each time the broker hands the same message out.
const COUNTED: &str = "x-delivery-count";

/// A message with an id of ours is the same one wherever it is, until it is sent again. A stranger may
/// use one id twice, but then the body is another.
#[must_use]
pub fn of_ours(origin: &Origin, message_id: Uuid, parent: Option<Uuid>, body: &[u8]) -> [u8; 32] {
    let mut hash = begun(origin);
    hash.update(message_id.as_bytes());
    hash.update(parent.unwrap_or_default().as_bytes());
    hash.update(body);
    hash.finalize().into()
}

/// Any other message is known by all that it is.
#[must_use]
pub fn of_strangers(origin: &Origin, content: &Content) -> [u8; 32] {
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

/// Another fingerprint for a twin of what has this one.
#[must_use]
pub fn salted(fingerprint: [u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(fingerprint).chain_update(Uuid::new_v4()).finalize().into()
}

fn begun(origin: &Origin) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(origin.as_str());
    hash.update([0]);
    hash
}
