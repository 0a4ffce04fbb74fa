//! A dead letter as it is in its queue: everything that came with it, as JSON.

use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, ShortString},
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::table::{self, time};

/// The header with the id of the dead letter that this message redrives.
pub const REDRIVEN: &str = "x-tandem-dead-letter";
/// The header in which the broker records each death.
const DEATHS: &str = "x-death";

/// A message with everything that came with it.
#[derive(Debug)]
pub struct DeadLetter {
    /// The body, unchanged.
    pub body: Vec<u8>,
    /// Whether the broker has delivered this message before.
    pub redelivered: bool,
    /// The message id, if it is a UUID.
    pub message_id: Option<Uuid>,
    /// The headers, without `x-death`. A value that JSON cannot represent is an object with one field:
    /// `$bytes` (base64), `$timestamp` (RFC 3339), `$decimal`, `$float` (`NaN`, `inf`, `-inf`).
    pub headers: Map<String, Value>,
    /// The properties that were set, by their AMQP names with `_` for `-`; the time as RFC 3339.
    pub properties: Map<String, Value>,
    /// The broker's `x-death`, newest first, its times as RFC 3339.
    pub deaths: Vec<Value>,
}

/// Why the broker moved a message to the dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// A consumer rejected it.
    Rejected,
    /// It was returned more often than the queue's delivery limit allows.
    DeliveryLimit,
    /// It waited longer than its time to live.
    Expired,
    /// The queue was full.
    MaxLength,
    /// A reason that this version does not know.
    Other,
}

impl DeadLetter {
    /// Why it died last; `None` if somebody put it into the queue by hand.
    #[must_use]
    pub fn death(&self) -> Option<Death> {
        let word = self.deaths.first()?.get("reason").and_then(Value::as_str);
        Some(match word {
            Some("rejected") => Death::Rejected,
            Some("delivery_limit") => Death::DeliveryLimit,
            Some("expired") => Death::Expired,
            Some("maxlen") => Death::MaxLength,
            _ => Death::Other,
        })
    }

    /// When it died last, to the second, by the broker's clock.
    #[must_use]
    pub fn died_at(&self) -> Option<Timestamp> {
        self.deaths.first()?.get("time")?.as_str()?.parse().ok()
    }

    /// The dead letter that this message redrives.
    #[must_use]
    pub fn redriven(&self) -> Option<Uuid> {
        Uuid::parse_str(self.headers.get(REDRIVEN)?.as_str()?).ok()
    }
}

/// Headers, properties and deaths.
pub(super) fn read(properties: &BasicProperties) -> (Map<String, Value>, Map<String, Value>, Vec<Value>) {
    let mut headers = properties.headers().as_ref().map(table::object).unwrap_or_default();
    // Anyone may send anything under that name: then it stays a header.
    let deaths = properties.headers().as_ref().and_then(|headers| match headers.inner().get(DEATHS)? {
        AMQPValue::FieldArray(deaths) => deaths.as_slice().iter().map(death).collect(),
        _ => None,
    });
    if deaths.is_some() {
        headers.remove(DEATHS);
    }
    (headers, named(properties), deaths.unwrap_or_default())
}

/// One entry of `x-death`. Its time is always one, so it needs no `$timestamp`.
fn death(entry: &AMQPValue) -> Option<Value> {
    let AMQPValue::FieldTable(entry) = entry else { return None };
    let mut shown = table::object(entry);
    if let Some(AMQPValue::Timestamp(seconds)) = entry.inner().get("time") {
        shown.insert("time".to_owned(), time(*seconds));
    }
    Some(Value::Object(shown))
}

fn named(properties: &BasicProperties) -> Map<String, Value> {
    let mut named = Map::new();
    let texts: [(&str, &Option<ShortString>); 10] = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("expiration", properties.expiration()),
        ("message_id", properties.message_id()),
        ("type", properties.kind()),
        ("user_id", properties.user_id()),
        ("app_id", properties.app_id()),
        ("cluster_id", properties.cluster_id()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            named.insert(name.to_owned(), text.as_str().into());
        }
    }
    for (name, number) in [("delivery_mode", properties.delivery_mode()), ("priority", properties.priority())] {
        if let Some(number) = number {
            named.insert(name.to_owned(), (*number).into());
        }
    }
    if let Some(seconds) = properties.timestamp() {
        named.insert("timestamp".to_owned(), time(*seconds));
    }
    named
}

#[cfg(test)]
mod tests {
    use lapin::types::{FieldArray, FieldTable};
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_was_set_is_read_and_nothing_else() {
        let mut died = FieldTable::default();
        died.insert("reason".into(), AMQPValue::LongString("delivery_limit".into()));
        died.insert("count".into(), AMQPValue::LongLongInt(1));
        died.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
        let mut headers = FieldTable::default();
        headers.insert(DEATHS.into(), AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(died)])));
        headers.insert("mine".into(), AMQPValue::LongInt(-7));
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_content_type("text/plain".into())
            .with_type("T".into())
            .with_delivery_mode(2)
            .with_timestamp(u64::MAX);
        let (headers, properties, deaths) = read(&properties);
        assert_eq!(Value::Object(headers), json!({"mine": -7}));
        let expected = json!({"content_type": "text/plain", "type": "T", "delivery_mode": 2, "timestamp": u64::MAX});
        assert_eq!(Value::Object(properties), expected);
        let time = "2023-11-14T22:13:20Z";
        assert_eq!(deaths, [json!({"reason": "delivery_limit", "count": 1, "time": time})]);
    }

    #[test]
    fn an_x_death_that_is_not_the_brokers_stays_a_header() {
        let mut headers = FieldTable::default();
        headers.insert(DEATHS.into(), AMQPValue::LongString("soon".into()));
        let (headers, _, deaths) = read(&BasicProperties::default().with_headers(headers));
        assert_eq!((Value::Object(headers), deaths.len()), (json!({"x-death": "soon"}), 0));
    }
}
