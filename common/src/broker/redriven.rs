//! A dead letter to be sent again, unchanged: its headers and properties, stored as JSON, become AMQP
//! again.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable, ShortString},
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    dead_letter::REDRIVEN,
    publisher::{RETRY_UNTIL, SPENT, TAKES_WAITS, UNANSWERED},
};

/// A message as it was, with the id of its dead letter.
#[derive(Clone, Debug)]
pub struct RedrivenMessage {
    /// Sent as [`REDRIVEN`].
    pub dead_letter: Uuid,
    /// The headers that it had.
    pub headers: Map<String, Value>,
    /// The properties that it had.
    pub properties: Map<String, Value>,
    /// The body, unchanged.
    pub body: Bytes,
}

/// Whether a header is dropped: it records the history of the message, or of an earlier delivery of it, or it
/// would route the message to further queues.
fn is_dropped(header: &str) -> bool {
    let listed = ["x-death", "x-delivery-count", "x-stream-offset", "CC", "BCC"].contains(&header);
    let earlier = [TAKES_WAITS, SPENT, UNANSWERED, RETRY_UNTIL].contains(&header);
    listed || earlier || header.starts_with("x-first-death-") || header.starts_with("x-last-death-")
}

/// The AMQP properties to send. The user id is dropped, because the broker closes the channel of a
/// publisher that is another user. So is the expiration: a dead letter must not vanish while it waits.
pub(super) fn properties(message: &RedrivenMessage) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in message.headers.iter().filter(|(name, _)| !is_dropped(name)) {
        // Each name was a short string before, so it fits.
        if let Ok(name) = ShortString::try_new(name.clone()) {
            headers.insert(name, field(value));
        }
    }
    headers.insert(REDRIVEN.into(), AMQPValue::LongString(message.dead_letter.to_string().into()));
    headers.insert(TAKES_WAITS.into(), AMQPValue::LongString("1".into()));
    let mut properties = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
    let text = |name: &str| {
        let text = message.properties.get(name)?.as_str()?;
        ShortString::try_new(text.to_owned()).ok()
    };
    if let Some(text) = text("content_type") {
        properties = properties.with_content_type(text);
    }
    if let Some(text) = text("content_encoding") {
        properties = properties.with_content_encoding(text);
    }
    if let Some(text) = text("correlation_id") {
        properties = properties.with_correlation_id(text);
    }
    if let Some(text) = text("reply_to") {
        properties = properties.with_reply_to(text);
    }
    if let Some(text) = text("message_id") {
        properties = properties.with_message_id(text);
    }
    if let Some(text) = text("type") {
        properties = properties.with_type(text);
    }
    if let Some(text) = text("app_id") {
        properties = properties.with_app_id(text);
    }
    let priority = message.properties.get("priority").and_then(Value::as_u64);
    if let Some(priority) = priority.and_then(|priority| u8::try_from(priority).ok()) {
        properties = properties.with_priority(priority);
    }
    if let Some(seconds) = message.properties.get("timestamp").and_then(seconds) {
        properties = properties.with_timestamp(seconds);
    }
    properties
}

/// A stored time: RFC 3339, or a number of seconds that no calendar date has.
fn seconds(shown: &Value) -> Option<u64> {
    match shown {
        Value::Number(seconds) => seconds.as_u64(),
        Value::String(text) => u64::try_from(text.parse::<Timestamp>().ok()?.as_second()).ok(),
        _ => None,
    }
}

fn field(value: &Value) -> AMQPValue {
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(flag) => AMQPValue::Boolean(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => i32::try_from(whole).map_or(AMQPValue::LongLongInt(whole), AMQPValue::LongInt),
            None => AMQPValue::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(values) => AMQPValue::FieldArray(FieldArray::from(values.iter().map(field).collect::<Vec<_>>())),
        Value::Object(object) => special(object).unwrap_or_else(|| AMQPValue::FieldTable(table(object))),
    }
}

fn table(object: &Map<String, Value>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in object {
        if let Ok(name) = ShortString::try_new(name.clone()) {
            table.insert(name, field(value));
        }
    }
    table
}

/// A value that JSON cannot represent, stored as an object with one field.
fn special(object: &Map<String, Value>) -> Option<AMQPValue> {
    let mut fields = object.iter();
    let ((name, value), None) = (fields.next()?, fields.next()) else { return None };
    match name.as_str() {
        "$bytes" => Some(AMQPValue::ByteArray(ByteArray::from(BASE64.decode(value.as_str()?).ok()?))),
        "$timestamp" => Some(AMQPValue::Timestamp(seconds(value)?)),
        "$decimal" => decimal(value.as_str()?),
        "$float" => match value.as_str()? {
            "NaN" => Some(AMQPValue::Double(f64::NAN)),
            "inf" => Some(AMQPValue::Double(f64::INFINITY)),
            "-inf" => Some(AMQPValue::Double(f64::NEG_INFINITY)),
            _ => None,
        },
        _ => None,
    }
}

fn decimal(text: &str) -> Option<AMQPValue> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = u8::try_from(fraction.len()).ok()?;
    let value = format!("{whole}{fraction}").parse().ok()?;
    Some(AMQPValue::DecimalValue(DecimalValue { scale, value }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn it_is_sent_unchanged_to_one_queue_without_expiring_and_names_its_dead_letter() {
        let message = RedrivenMessage {
            dead_letter: Uuid::from_u128(7),
            headers: map(json!({
                "traceparent": "t", "mine": 7, "deep": {"list": [true, null, 1.5]}, "raw": {"$bytes": "AQI="},
                "x-death": [], "x-first-death-queue": "q", "CC": ["elsewhere"], "BCC": ["elsewhere"], "x-delivery-count": 3, SPENT: "4", RETRY_UNTIL: "2026-01-02T03:04:05Z"
            })),
            properties: map(json!({
                "message_id": "m", "type": "OrderCreated", "content_type": "application/json", "correlation_id": "c",
                "timestamp": "2023-11-14T22:13:20Z", "user_id": "guest", "expiration": "10", "delivery_mode": 1, "priority": 3
            })),
            body: Bytes::from_static(b"x"),
        };
        let properties = properties(&message);
        let headers = properties.headers().clone().unwrap_or_default();
        let names: Vec<_> = headers.inner().keys().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(names, ["deep", "mine", "raw", "traceparent", REDRIVEN, TAKES_WAITS]);
        let named = headers.inner().get(REDRIVEN);
        assert_eq!(named, Some(&AMQPValue::LongString(Uuid::from_u128(7).to_string().into())));
        assert_eq!(headers.inner().get("raw"), Some(&AMQPValue::ByteArray(ByteArray::from(vec![1, 2]))));
        let text = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
        assert_eq!(text(properties.message_id()).as_deref(), Some("m"));
        assert_eq!(text(properties.kind()).as_deref(), Some("OrderCreated"));
        assert_eq!((properties.timestamp(), properties.priority()), (&Some(1_700_000_000), &Some(3)));
        assert_eq!(
            (properties.delivery_mode(), properties.user_id(), properties.expiration()),
            (&Some(2), &None, &None)
        );
    }
}
