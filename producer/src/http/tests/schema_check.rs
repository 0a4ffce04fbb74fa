//! Holds answers against the OpenAPI document: the part of JSON Schema that it uses.

use axum::http::{Method, StatusCode};
use serde_json::Value;

use super::Answer;
use crate::http::openapi;

pub(super) fn document() -> Value {
    serde_json::to_value(openapi::document()).unwrap()
}

/// The operation that the document describes for a path, if it does.
fn operation<'d>(document: &'d Value, method: &Method, path: &str) -> Option<&'d Value> {
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let described = document["paths"].as_object()?.iter().find(|(described, _)| {
        let is_value = |name: &str, value: &str| name.starts_with('{') && !value.is_empty();
        let same = |(name, value): (&str, &str)| name == value || is_value(name, value);
        described.split('/').count() == path.split('/').count() && described.split('/').zip(path.split('/')).all(same)
    })?;
    described.1.get(method)
}

/// What a described operation answers is described: its status, its headers, its body.
pub(super) fn check_answer(method: &Method, path: &str, answer: &Answer) {
    let document = document();
    let Some(operation) = operation(&document, method, path) else { return };
    let described = &operation["responses"][answer.status.as_str()];
    assert!(described.is_object(), "{method} {path} answers {}, which is not described", answer.status);
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
        if answer.header("Content-Type") == Some("text/event-stream") {
            return;
        }
        check(&document, schema, &answer.json());
    }
}

/// Panics where a value does not keep to a schema, or where the schema says what this cannot check.
#[track_caller]
pub(super) fn check(document: &Value, schema: &Value, value: &Value) {
    if let Err(fault) = keeps_to(document, schema, value, "#") {
        panic!("{fault}");
    }
}

fn keeps_to(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (word, rule) in schema.as_object().unwrap() {
        let kept = match word.as_str() {
            "$ref" => {
                let target = rule.as_str().unwrap().trim_start_matches('#');
                keeps_to(document, document.pointer(target).unwrap(), value, at)?;
                true
            }
            "oneOf" => {
                let fits = |schema: &&Value| keeps_to(document, schema, value, at).is_ok();
                rule.as_array().unwrap().iter().filter(fits).count() == 1
            }
            "type" => is_of_type(rule, value),
            "enum" => rule.as_array().unwrap().contains(value),
            "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, value) in value.as_object().unwrap() {
                    let schema = rule.get(name).ok_or_else(|| format!("{at}/{name} is not described"))?;
                    keeps_to(document, schema, value, &format!("{at}/{name}"))?;
                }
                true
            }
            "additionalProperties" if rule.is_object() => {
                for (name, value) in value.as_object().unwrap() {
                    keeps_to(document, rule, value, &format!("{at}/{name}"))?;
                }
                true
            }
            "items" => {
                for (index, value) in value.as_array().unwrap().iter().enumerate() {
                    keeps_to(document, rule, value, &format!("{at}/{index}"))?;
                }
                true
            }
            // Rules of numbers and texts say nothing of other values.
            "minimum" => value.is_null() || value.as_f64() >= rule.as_f64(),
            "maximum" => value.is_null() || value.as_f64() <= rule.as_f64(),
            "minLength" => value.is_null() || chars(value) >= rule.as_u64(),
            "maxLength" => value.is_null() || chars(value) <= rule.as_u64(),
            "minItems" => count(value) >= rule.as_u64(),
            "maxItems" => count(value) <= rule.as_u64(),
            "format" if rule == "uuid" => uuid::Uuid::try_parse(value.as_str().unwrap()).is_ok(),
            "format" if rule == "date-time" && value.is_string() => {
                value.as_str().unwrap().parse::<jiff::Timestamp>().is_ok()
            }
            // Unknown fields are refused above already.
            "additionalProperties" => *rule == false,
            "format" | "pattern" | "description" | "default" | "example" | "examples" | "propertyNames" => true,
            other => panic!("{at}: this check does not know {other}"),
        };
        if !kept {
            return Err(format!("{at}: {value} does not keep to {word}: {rule}"));
        }
    }
    Ok(())
}

fn is_of_type(rule: &Value, value: &Value) -> bool {
    if let Some(any) = rule.as_array() {
        return any.iter().any(|rule| is_of_type(rule, value));
    }
    match rule.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

fn chars(value: &Value) -> Option<u64> {
    Some(value.as_str()?.chars().count() as u64)
}

fn count(value: &Value) -> Option<u64> {
    Some(value.as_array()?.len() as u64)
}
