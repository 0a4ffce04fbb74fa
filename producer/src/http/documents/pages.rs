//! The pages of the documentation. All of them are compiled in; nothing is loaded from elsewhere.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use bytes::Bytes;
use utoipa_swagger_ui::Config;

use super::openapi::document;
use crate::http::edge::{
    problem::{INTERNAL, PROBLEM_TYPES, Problem, UNKNOWN_PATH},
    response::json,
};

/// A browser that obeys this loads from this server only, whatever the page says.
const FROM_HERE_ONLY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                              img-src 'self' data:; font-src 'self' data:; connect-src 'self'; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /openapi.json`. It is made for each request: requests for it are rare, and it is large.
pub(super) async fn openapi_json() -> Result<Response, Problem> {
    json(StatusCode::OK, &document())
}

/// `GET /docs`: the relative links of the page need the slash.
pub(super) async fn to_page() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("docs/"));
    response
}

/// `GET /docs/…`: a file of the page.
pub(super) async fn file(uri: Uri) -> Result<Response, Problem> {
    let name = uri.path().trim_start_matches("/docs/");
    // Without "none" the page would send the document to a validator on the internet; with the standalone
    // layout it would offer to load documents from anywhere.
    let config = Config::from("../openapi.json").validator_url("none").use_base_layout();
    let file = utoipa_swagger_ui::serve(name, Arc::new(config));
    let file = file.map_err(|fault| Problem::new(&INTERNAL, "the file cannot be served").caused_by(fault))?;
    let file = file.ok_or_else(|| Problem::new(&UNKNOWN_PATH, "the documentation has no such file"))?;
    // A file that is served unchanged stays in the program's image and is not copied.
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    Ok(page(&file.content_type, bytes))
}

/// `GET /problems/{name}`: where the `type` of a problem leads.
pub(super) async fn problem(uri: Uri) -> Result<Response, Problem> {
    let name = uri.path().trim_start_matches("/problems/");
    let kind = PROBLEM_TYPES.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| Problem::new(&UNKNOWN_PATH, "there is no such type of problem"))?;
    Ok(page("text/plain; charset=utf-8", kind.page().into()))
}

fn page(content_type: &str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(FROM_HERE_ONLY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}
