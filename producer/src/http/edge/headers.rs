//! The headers of a request: read strictly if they change what happens, leniently if they do not.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};
use common::trace_context::TraceParent;
use utoipa::IntoParams;

use super::problem::{Problem, UNSUPPORTED_MEDIA_TYPE};

/// Longest idempotency key, in characters.
const MAX_KEY_CHARS: usize = 255;

/// In the spelling of the documentation; header names are compared without regard to case.
pub(in crate::http) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

pub(in crate::http) static IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The client's idempotency key: a string as in RFC 9651, in quotes, or the same without quotes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header, names("Idempotency-Key"))]
pub(in crate::http) struct IdempotencyKey(
    /// Makes it safe to send the request again: 1 to 255 visible ASCII characters, in quotes as a
    /// structured field string (RFC 9651), or bare.
    #[param(nullable = false, min_length = 1, max_length = 512)]
    pub(in crate::http) Option<String>,
);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        idempotency_key(&parts.headers).map(Self)
    }
}

/// The trace that a request belongs to, or a new one: a trace is never a reason to refuse, and the
/// standard says to start a new one if the header is missing, broken or repeated.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header, names("traceparent"))]
pub(in crate::http) struct Trace(
    /// W3C Trace Context; ignored if it is not valid.
    #[param(value_type = Option<String>, nullable = false)]
    pub(in crate::http) TraceParent,
);

impl<S: Sync> FromRequestParts<S> for Trace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(trace(&parts.headers)))
    }
}

fn trace(headers: &HeaderMap) -> TraceParent {
    let mut values = headers.get_all("traceparent").iter();
    let only = values.next().filter(|_| values.next().is_none());
    only.and_then(|value| TraceParent::parse(value.to_str().ok()?)).unwrap_or_else(TraceParent::root)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = single(headers, IDEMPOTENCY_KEY)? else { return Ok(None) };
    let key = match value.as_bytes().strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted),
        None => Ok(value.as_bytes().to_vec()),
    };
    key.and_then(check_key).map(Some).map_err(|rule| Problem::header(IDEMPOTENCY_KEY, rule))
}

fn unquote(quoted: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut key = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter().copied();
    loop {
        match bytes.next() {
            Some(b'"') if bytes.len() == 0 => return Ok(key),
            Some(b'"') | None => return Err("must end with its closing quote"),
            Some(b'\\') => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => key.push(escaped),
                _ => return Err("must escape nothing but a quote or a backslash"),
            },
            Some(other) => key.push(other),
        }
    }
}

/// Checks a key without its quotes.
pub(in crate::http) fn check_key(key: Vec<u8>) -> Result<String, &'static str> {
    if key.is_empty() {
        return Err("must not be empty");
    }
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err("must consist of visible ASCII characters");
    }
    if key.len() > MAX_KEY_CHARS {
        return Err("must have at most 255 characters");
    }
    String::from_utf8(key).map_err(|_| "must consist of visible ASCII characters")
}

/// Checks that the body is announced as plain JSON.
pub(in crate::http) fn json_body(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail| Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE, detail));
    let Some(media_type) = single(headers, "Content-Type")? else {
        return refused("Content-Type is missing, it must be application/json");
    };
    // Parameters mean nothing for JSON: it is always UTF-8.
    let essence = media_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    if !essence.trim_ascii().eq_ignore_ascii_case(b"application/json") {
        return refused("Content-Type must be application/json");
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            refused("Content-Encoding is not supported, the body must not be compressed")
        }
        _ => Ok(()),
    }
}

/// A header that may be given once. Nobody can know which of several values was meant.
pub(in crate::http) fn single<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Problem::header(name, "must be given once")) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        idempotency_key(&headers).ok().flatten()
    }

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        assert_eq!(key("8e03978e"), Some("8e03978e".into()));
        assert_eq!(key("\"8e03978e\""), Some("8e03978e".into()));
        assert_eq!(key(r#""a\"b\\c""#), Some(r#"a"b\c"#.into()));
        assert_eq!(key(r#"a"b\c"#), Some(r#"a"b\c"#.into()));
    }

    #[test]
    fn a_key_has_1_to_255_characters_and_the_quotes_and_escapes_do_not_count() {
        assert!(key(&"k".repeat(255)).is_some());
        assert!(key(&format!("\"{}\"", r#"\""#.repeat(255))).is_some());
        assert!(key(&"k".repeat(256)).is_none());
        assert!(key(&format!("\"{}\"", "k".repeat(256))).is_none());
        assert!(key("").is_none());
        assert!(key("\"\"").is_none());
    }

    #[test]
    fn a_malformed_key_is_refused() {
        for bad in ["\"", "\"a", "\"a\"b", "\"a\", \"b\"", "\"a\";p=1", "\"a\\", "\"a\\n\"", "a b", "\"a b\"", "ü"] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_trace_is_continued_or_a_new_one_starts() {
        let sample = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.append("traceparent", HeaderValue::from_static("broken"));
        assert_ne!(trace(&headers).to_string(), sample);
        headers.insert("traceparent", HeaderValue::from_static(sample));
        assert_eq!(trace(&headers).to_string(), sample);
        headers.append("traceparent", HeaderValue::from_static(sample));
        assert_ne!(trace(&headers).to_string(), sample);
    }
}
