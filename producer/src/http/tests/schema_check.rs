//! Holds responses against the OpenAPI document.

use std::sync::LazyLock;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Answer;
use crate::http::documents;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(documents::document()).unwrap());

/// The schemas of the document, with every object closed: what is not described must not be sent.
static CLOSED: LazyLock<Value> = LazyLock::new(|| {
    let mut schemas = DOCUMENT["components"]["schemas"].clone();
    close(&mut schemas);
    schemas
});

fn close(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            if members.get("properties").is_some_and(Value::is_object) {
                members.entry("additionalProperties").or_insert(false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

pub(super) fn document() -> &'static Value {
    &DOCUMENT
}

/// The operation that the document describes for a path, if it does.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let described = DOCUMENT["paths"].as_object()?.iter().find(|(described, _)| {
        let is_value = |name: &str, value: &str| name.starts_with('{') && !value.is_empty();
        let same = |(name, value): (&str, &str)| name == value || is_value(name, value);
        described.split('/').count() == path.split('/').count() && described.split('/').zip(path.split('/')).all(same)
    })?;
    described.1.get(method)
}

/// The status, the headers and the body of a described operation's response are described.
pub(super) fn check_answer(method: &Method, path: &str, answer: &Answer) {
    let Some(operation) = operation(method, path) else { return };
    let described = &operation["responses"][answer.status.as_str()];
    assert!(described.is_object(), "{method} {path} responds with {}, which is not described", answer.status);
    for name in
        ["X-Correlation-ID", "Location", "Idempotency-Replayed", "Retry-After", "ETag", "Vary", "Preference-Applied"]
    {
        let is_described = described["headers"].get(name).is_some();
        assert!(answer.header(name).is_none() || is_described, "{path}: {name} is not described");
    }
    let no_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&answer.status);
    if method != Method::HEAD && !no_body {
        let schema = &described["content"][answer.header("Content-Type").unwrap()]["schema"];
        assert!(schema.is_object(), "{path}: the type of the body is not described");
        if answer.header("Content-Type") != Some("text/event-stream") {
            check(schema, &answer.json());
        }
    }
}

/// Panics if a value does not conform to a schema of the document.
#[track_caller]
pub(super) fn check(schema: &Value, value: &Value) {
    let mut schema = schema.clone();
    close(&mut schema);
    schema["components"] = json!({ "schemas": &*CLOSED });
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    if let Err(fault) = validator.validate(value) {
        panic!("{}: {fault} in {value}", fault.instance_path());
    }
}
