//! The fingerprint of a redrive as version 0.1 computed it, so that keys it stored are still recognised.
//!
//! It hashed the text that Rust derived for debugging. Nothing here may ever change: the text is frozen,
//! whatever the types are called or contain today.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use store::{Filter, Selection};

use super::new_redrive::NewRedrive;

/// What version 0.1 stored for this request.
pub(super) fn earlier_fingerprint(redrive: &NewRedrive) -> [u8; 32] {
    Sha256::digest(format!("tandem redrive 1 {}", text(redrive))).into()
}

fn text(redrive: &NewRedrive) -> String {
    let NewRedrive { selection, dry_run, rate, concurrency, stop_after_failed_share, force, body, new_key } = redrive;
    let selection = match selection {
        Selection::Filter(filter) => format!("Filter({})", of_filter(filter)),
        Selection::Ids(ids) => {
            format!("Ids([{}])", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    format!(
        "NewRedrive {{ selection: {selection}, dry_run: {dry_run}, rate: {rate:?}, concurrency: {concurrency}, \
         stop_after_failed_share: {stop_after_failed_share:?}, force: {force}, body: {}, new_key: {new_key} }}",
        option(body.as_ref().map(|body| {
            let mut text = String::new();
            push_value(&mut text, body);
            text
        })),
    )
}

fn of_filter(filter: &Filter) -> String {
    let Filter { destination, reason, status_code, error, order_id, from, to, archived } = filter;
    format!(
        "Filter {{ destination: {}, reason: {}, status_code: {}, error: {}, order_id: {}, from: {}, to: {}, \
         archived: {archived} }}",
        option(destination.as_ref().map(|name| format!("{name:?}"))),
        option(reason.as_ref().map(|reason| camel_case(reason.as_str()))),
        option(*status_code),
        option(error.as_ref().map(|error| format!("{error:?}"))),
        option(order_id.map(|id| format!("OrderId({id})"))),
        option(*from),
        option(*to),
    )
}

fn option(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({})", value.to_string()))
}

/// `delivery_limit` becomes `DeliveryLimit`.
fn camel_case(word: &str) -> String {
    let capital = |part: &str| part.get(..1).unwrap_or_default().to_uppercase() + part.get(1..).unwrap_or_default();
    word.split('_').map(capital).collect()
}

/// Writing to a `String` cannot fail.
fn push_value(text: &mut String, value: &Value) {
    let _ = match value {
        Value::Null => write!(text, "Null"),
        Value::Bool(value) => write!(text, "Bool({value})"),
        Value::Number(number) => write!(text, "Number({number})"),
        Value::String(string) => write!(text, "String({string:?})"),
        Value::Array(items) => {
            text.push_str("Array [");
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                push_value(text, item);
            }
            write!(text, "]")
        }
        Value::Object(members) => {
            text.push_str("Object {");
            for (index, (name, member)) in members.iter().enumerate() {
                let _ = write!(text, "{}{name:?}: ", if index == 0 { "" } else { ", " });
                push_value(text, member);
            }
            write!(text, "}}")
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::edge::json;

    /// Bodies, and the texts and fingerprints that version 0.1 made of them.
    const MADE_BY_0_1: [(&str, &str, &str); 6] = [
        (
            r#"{"filter":{}}"#,
            r#"NewRedrive { selection: Filter(Filter { destination: None, reason: None, status_code: None, error: None, order_id: None, from: None, to: None, archived: false }), dry_run: false, rate: 50.0, concurrency: 100, stop_after_failed_share: 0.5, force: false, body: None, new_key: false }"#,
            "daef4192dde4268343c882cf0bf7c0c63cfc8b39fb19a4e0f3eaabc08ece584f",
        ),
        (
            r#"{"filter":{"destination":"inventory","reason":"delivery_limit","status_code":422,"error":"a\"b\\c\n\u00e9\u0301'\u200b\ud83d\ude00\u007f","order_id":"019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40","from":"2026-01-02T03:04:05Z","to":"2026-01-02T05:04:06.5+01:00","archived":true},"rate":0.1e2,"concurrency":7,"stop_after_failed_share":0,"dry_run":true,"force":true}"#,
            r#"NewRedrive { selection: Filter(Filter { destination: Some("inventory"), reason: Some(DeliveryLimit), status_code: Some(422), error: Some("a\"b\\c\né\u{301}'\u{200b}😀\u{7f}"), order_id: Some(OrderId(019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40)), from: Some(2026-01-02T03:04:05Z), to: Some(2026-01-02T04:04:06.5Z), archived: true }), dry_run: true, rate: 10.0, concurrency: 7, stop_after_failed_share: 0.0, force: true, body: None, new_key: false }"#,
            "28322e2195fcbe22d02f5f3cc5b4b7bab68322927a70ec07aabd806b67704877",
        ),
        (
            r#"{"filter":{"from":"2026-01-02T03:04:05.123456789Z","to":"9999-01-01T00:00:00Z"},"stop_after_failed_share":1e-5,"rate":5000}"#,
            r#"NewRedrive { selection: Filter(Filter { destination: None, reason: None, status_code: None, error: None, order_id: None, from: Some(2026-01-02T03:04:05.123456789Z), to: Some(9999-01-01T00:00:00Z), archived: false }), dry_run: false, rate: 5000.0, concurrency: 100, stop_after_failed_share: 1e-5, force: false, body: None, new_key: false }"#,
            "5805e82a577978e813d5f94eb0aedde656609ebaf9a782a9e378f5485aa60022",
        ),
        (
            r#"{"ids":["019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e41","019b7cb24d5e7a319f6e2c8d5b1a7e40"],"dry_run":false}"#,
            r#"NewRedrive { selection: Ids([019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40, 019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e41]), dry_run: false, rate: 50.0, concurrency: 100, stop_after_failed_share: 0.5, force: false, body: None, new_key: false }"#,
            "77ccc692e02eb09dbbd0f848826d2561cfa0fa5c65a0d42702ad31f7387cb034",
        ),
        (
            r#"{"ids":["019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40"],"new_key":true,"body":{"b":[1,-2,2.5,1e300,null,true,false,"t\u00e9\"",{},[]],"a":{"x":18446744073709551615,"y":1.0,"z":1e-7,"w":123456789012345678901234567890}}}"#,
            r#"NewRedrive { selection: Ids([019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40]), dry_run: false, rate: 50.0, concurrency: 100, stop_after_failed_share: 0.5, force: false, body: Some(Object {"a": Object {"w": Number(1.2345678901234568e+29), "x": Number(18446744073709551615), "y": Number(1.0), "z": Number(1e-7)}, "b": Array [Number(1), Number(-2), Number(2.5), Number(1e+300), Null, Bool(true), Bool(false), String("té\""), Object {}, Array []]}), new_key: true }"#,
            "b29b166cb5a16cd4bac37fefa396e6c76e5170ea1d4d54e9b838bca1431e655f",
        ),
        (
            r#"{"ids":["019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40"],"body":"{\"a\":1}\n"}"#,
            r#"NewRedrive { selection: Ids([019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40]), dry_run: false, rate: 50.0, concurrency: 100, stop_after_failed_share: 0.5, force: false, body: Some(String("{\"a\":1}\n")), new_key: false }"#,
            "512d7f07f1566892d57da43bb6154cb99b38231ca17e9fd4b192468dda92d2cc",
        ),
    ];

    #[test]
    fn the_fingerprint_is_the_one_that_version_0_1_stored() {
        for (body, wanted, hash) in MADE_BY_0_1 {
            let redrive = json::read::<NewRedrive>(body.as_bytes()).unwrap();
            assert_eq!(text(&redrive), wanted, "{body}");
            let hex: String = earlier_fingerprint(&redrive).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, hash, "{body}");
        }
    }
}
