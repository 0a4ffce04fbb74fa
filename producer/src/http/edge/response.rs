//! Responses in JSON.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;

use super::problem::{INTERNAL, Problem};

/// A response in JSON that must not be cached: what it says may change at any moment.
pub(in crate::http) fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, Problem> {
    let mut response = Response::new(Body::from(to_json(body)?));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The body of a response.
pub(in crate::http) fn to_json(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    let unwritable = |fault| Problem::new(&INTERNAL, "the response could not be written").caused_by(fault);
    serde_json::to_vec(body).map_err(unwritable)
}
