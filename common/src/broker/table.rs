//! AMQP tables as JSON objects, without loss of meaning.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};

/// The object of a table.
pub(super) fn object(table: &FieldTable) -> Map<String, Value> {
    table.inner().iter().map(|(name, entry)| (name.as_str().to_owned(), value(entry))).collect()
}

/// A time in seconds since 1970, as RFC 3339, or as the number if no calendar date has it.
pub(super) fn time(seconds: u64) -> Value {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.into(), |time| time.to_string().into())
}

/// A value that JSON cannot represent is an object with one field, whose name says what it is.
fn value(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortShortUInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::ShortUInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongUInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        AMQPValue::Float(number) => float((*number).into()),
        AMQPValue::Double(number) => float(*number),
        AMQPValue::DecimalValue(decimal) => json!({"$decimal": shown(decimal.value, decimal.scale)}),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => text.into(),
            Err(_) => bytes(text.as_bytes()),
        },
        AMQPValue::FieldArray(array) => array.as_slice().iter().map(self::value).collect(),
        AMQPValue::Timestamp(seconds) => json!({"$timestamp": time(*seconds)}),
        AMQPValue::FieldTable(table) => Value::Object(object(table)),
        AMQPValue::ByteArray(array) => bytes(array.as_slice()),
        AMQPValue::Void => Value::Null,
    }
}

fn bytes(bytes: &[u8]) -> Value {
    json!({"$bytes": BASE64.encode(bytes)})
}

fn float(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| json!({"$float": number.to_string()}), Value::Number)
}

/// A decimal number with `scale` digits after the point.
fn shown(digits: u32, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use lapin::types::{ByteArray, DecimalValue, FieldArray};

    use super::*;

    #[test]
    fn every_kind_of_value_keeps_its_meaning() {
        let mut inner = FieldTable::default();
        inner.insert("deep".into(), AMQPValue::Void);
        let decimal = |value, scale| AMQPValue::DecimalValue(DecimalValue { scale, value });
        for (given, expected) in [
            (AMQPValue::Boolean(true), json!(true)),
            (AMQPValue::LongLongInt(i64::MIN), json!(i64::MIN)),
            (AMQPValue::LongUInt(u32::MAX), json!(u32::MAX)),
            (AMQPValue::ShortShortInt(-1), json!(-1)),
            (AMQPValue::Double(0.5), json!(0.5)),
            (AMQPValue::Double(f64::NAN), json!({"$float": "NaN"})),
            (AMQPValue::Float(f32::NEG_INFINITY), json!({"$float": "-inf"})),
            (decimal(1205, 2), json!({"$decimal": "12.05"})),
            (decimal(5, 3), json!({"$decimal": "0.005"})),
            (decimal(5, 0), json!({"$decimal": "5"})),
            (AMQPValue::LongString("é".into()), json!("é")),
            (AMQPValue::LongString(vec![0xff, 0].into()), json!({"$bytes": "/wA="})),
            (AMQPValue::ByteArray(ByteArray::from(vec![1])), json!({"$bytes": "AQ=="})),
            (AMQPValue::Timestamp(0), json!({"$timestamp": "1970-01-01T00:00:00Z"})),
            (AMQPValue::Timestamp(u64::MAX), json!({"$timestamp": u64::MAX})),
            (AMQPValue::FieldTable(inner), json!({"deep": null})),
            (AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Boolean(false)])), json!([false])),
        ] {
            assert_eq!(value(&given), expected, "{given:?}");
        }
    }
}
