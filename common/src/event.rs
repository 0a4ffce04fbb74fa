//! The event: a typed fact on the wire, published once per order to the fan-out exchange.

use std::fmt;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
};
use uuid::Uuid;

use crate::order::{CorrelationId, CustomerId, Items, OrderId};

/// The id of an event: the AMQP `message_id`, and what idempotency keys are derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl EventId {
    /// A new id.
    #[must_use]
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}

/// An order was accepted. Readers ignore fields that a newer version adds.
#[expect(missing_docs, reason = "the types say it")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    pub event_type: OrderCreatedType,
    pub event_id: EventId,
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub items: Items,
    /// The request that placed the order.
    pub correlation_id: CorrelationId,
    /// When the order was accepted.
    pub occurred_at: Timestamp,
}

/// The `event_type` of [`OrderCreated`], which has one value and takes no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderCreatedType;

impl OrderCreatedType {
    /// The value: the `event_type` in JSON and the AMQP `type`.
    pub const VALUE: &'static str = "OrderCreated";
}

impl Serialize for OrderCreatedType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::VALUE)
    }
}

impl<'de> Deserialize<'de> for OrderCreatedType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Self)
    }
}

impl Visitor<'_> for OrderCreatedType {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::VALUE)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self, E> {
        if text == Self::VALUE { Ok(self) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }
}

/// How much of an unknown event type is kept, in characters: it comes from outside.
const MAX_EVENT_TYPE_CHARS: usize = 64;

/// What the body of a message is.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// An order to deliver.
    OrderCreated(Box<OrderCreated>),
    /// A well-formed event of a type this version does not know.
    Unknown {
        /// The beginning of its `event_type`.
        event_type: String,
    },
}

/// Why a body cannot be read. It names the position but never the content: the parser's own message
/// quotes the body, which must not reach a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable: {kind} at line {line}, column {column}")]
pub struct Unreadable {
    kind: &'static str,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for Unreadable {
    fn from(fault: serde_json::Error) -> Self {
        let kind = match fault.classify() {
            serde_json::error::Category::Io => "I/O error",
            serde_json::error::Category::Syntax => "not JSON",
            serde_json::error::Category::Data => "JSON of another shape",
            serde_json::error::Category::Eof => "truncated JSON",
        };
        Self { kind, line: fault.line(), column: fault.column() }
    }
}

impl OrderCreated {
    /// The bytes that go into the store and on the wire.
    ///
    /// # Errors
    /// Never in practice: the type holds nothing that JSON cannot represent.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// Reads the body of a message.
///
/// # Errors
/// [`Unreadable`] if the body is not JSON, has no `event_type`, or claims to be an `OrderCreated` but
/// is not one.
pub fn decode(body: &[u8]) -> Result<Decoded, Unreadable> {
    #[derive(Deserialize)]
    struct Envelope {
        event_type: String,
    }
    // The known type is read in one pass; the envelope is read only when that fails.
    let fault = match serde_json::from_slice(body) {
        Ok(event) => return Ok(Decoded::OrderCreated(event)),
        Err(fault) => fault,
    };
    match serde_json::from_slice::<Envelope>(body) {
        Ok(Envelope { event_type }) if event_type != OrderCreatedType::VALUE => {
            Ok(Decoded::Unknown { event_type: event_type.chars().take(MAX_EVENT_TYPE_CHARS).collect() })
        }
        _ => Err(fault.into()),
    }
}

/// The ids of an event, which can often be read even if the rest cannot.
#[expect(missing_docs, reason = "the types say it")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Identity {
    pub event_id: EventId,
    pub order_id: OrderId,
    pub correlation_id: CorrelationId,
}

/// Reads the ids from a body that [`decode`] refuses, so that its order can be reported.
#[must_use]
pub fn identity(body: &[u8]) -> Option<Identity> {
    serde_json::from_slice(body).ok()
}

/// The current time to the microsecond, the precision that is stored and shown.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Result<OrderCreated, Box<dyn std::error::Error>> {
        Ok(OrderCreated {
            event_type: OrderCreatedType,
            event_id: EventId::fresh(),
            order_id: OrderId::new(),
            customer_id: CustomerId::parse("c-1".into())?,
            items: serde_json::from_str(r#"[{"product_id":"p","qty":2}]"#)?,
            correlation_id: CorrelationId::fresh(),
            occurred_at: now(),
        })
    }

    #[test]
    fn an_encoded_event_decodes_to_itself() -> Result<(), Box<dyn std::error::Error>> {
        let event = sample()?;
        assert_eq!(decode(&event.encode()?)?, Decoded::OrderCreated(Box::new(event)));
        Ok(())
    }

    #[test]
    fn an_added_field_is_ignored() -> Result<(), Box<dyn std::error::Error>> {
        let mut wire: serde_json::Value = serde_json::from_slice(&sample()?.encode()?)?;
        wire["added_later"] = serde_json::json!({"deep": [1, 2]});
        assert!(matches!(decode(wire.to_string().as_bytes())?, Decoded::OrderCreated(_)));
        Ok(())
    }

    #[test]
    fn another_event_type_is_unknown() -> Result<(), Box<dyn std::error::Error>> {
        let decoded = decode(br#"{"event_type":"OrderCancelled","x":1}"#)?;
        assert_eq!(decoded, Decoded::Unknown { event_type: "OrderCancelled".into() });
        let mut wire: serde_json::Value = serde_json::from_slice(&sample()?.encode()?)?;
        wire["event_type"] = "OrderChanged".into();
        let decoded = decode(wire.to_string().as_bytes())?;
        assert_eq!(decoded, Decoded::Unknown { event_type: "OrderChanged".into() });
        Ok(())
    }

    #[test]
    fn an_unreadable_event_can_still_name_its_order() -> Result<(), Box<dyn std::error::Error>> {
        let event = sample()?;
        let mut wire: serde_json::Value = serde_json::from_slice(&event.encode()?)?;
        wire["items"] = serde_json::json!("broken");
        let body = wire.to_string();
        assert!(decode(body.as_bytes()).is_err());
        assert_eq!(identity(body.as_bytes()).map(|identity| identity.order_id), Some(event.order_id));
        assert_eq!(identity(b"not json"), None);
        Ok(())
    }

    #[test]
    fn the_reason_why_a_body_is_unreadable_never_quotes_it() {
        let Err(fault) = decode(br#"{"event_type":"OrderCreated","items":"hush"}"#) else { panic!("accepted") };
        assert!(!fault.to_string().contains("hush"), "{fault}");
    }

    #[test]
    fn anything_else_is_unreadable() {
        let bodies: [&[u8]; 5] = [b"", b"not json", b"{}", br#"{"event_type":"OrderCreated"}"#, b"\xff\xfe"];
        for body in bodies {
            assert!(decode(body).is_err(), "{body:?}");
        }
    }
}
