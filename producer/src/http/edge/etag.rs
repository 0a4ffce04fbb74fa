//! Entity tags (RFC 9110): what the client has already is not sent again.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{problem::Problem, response::to_json};

/// How much of the hash makes a tag, in bytes.
const TAG_BYTES: usize = 16;

/// A response in JSON under its tag, or 304 if the client has it. A client may cache it, and must ask
/// before it uses it again.
pub(in crate::http) fn tagged_json(headers: &HeaderMap, body: &impl Serialize) -> Result<Response, Problem> {
    let body = to_json(body)?;
    let hash = Sha256::digest(&body);
    let tag = format!("\"{}\"", BASE64.encode(&hash[..TAG_BYTES]));
    let known = matches(headers, &tag);
    let mut response = Response::new(if known { Body::empty() } else { Body::from(body) });
    let answered = response.headers_mut();
    if !known {
        answered.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answered.insert(header::VARY, HeaderValue::from_static("Prefer"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        answered.insert(header::ETAG, tag);
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    Ok(response)
}

/// Whether `If-None-Match` names this tag; the standard asks for the weak comparison.
fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    // Our tags have no comma.
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let mut headers = HeaderMap::new();
        let first = tagged_json(&headers, &["a"]).unwrap();
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(first.status(), StatusCode::OK);
        assert_ne!(tagged_json(&headers, &["b"]).unwrap().headers()[header::ETAG], tag);
        for (given, status) in [
            (tag.clone(), 304),
            (format!("W/{tag}"), 304),
            (format!("\"x\", {tag}"), 304),
            ("*".to_owned(), 304),
            ("\"x\"".to_owned(), 200),
            (tag.trim_matches('"').to_owned(), 200),
        ] {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::try_from(given.clone()).unwrap());
            let again = tagged_json(&headers, &["a"]).unwrap();
            assert_eq!(
                (again.status().as_u16(), again.headers()[header::ETAG].to_str().unwrap()),
                (status, &*tag),
                "{given}"
            );
        }
    }
}
