//! The documentation: the OpenAPI document, the page that shows it, and a page per type of problem.
//! All of it is compiled in; nothing is loaded from elsewhere, and nothing is kept in memory.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use utoipa_swagger_ui::Config;

use super::{
    Accept, Api, Show,
    call::{Call, json_answer},
    openapi,
    problem::{INTERNAL, KINDS, Problem, UNKNOWN_PATH},
};

/// A browser that keeps to this loads from this server only, whatever the page says.
const FROM_HERE_ONLY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                              img-src 'self' data:; font-src 'self' data:; connect-src 'self'; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /openapi.json`. It is made anew each time: it is asked for rarely, and would be kept for ever.
pub(super) async fn openapi_json<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.other);
    call.end(sound.and_then(|()| json_answer(StatusCode::OK, &openapi::document())))
}

/// `GET /docs`: relative links of the page need the slash.
pub(super) async fn to_page<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.other);
    call.end(sound.map(|()| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("docs/"));
        response
    }))
}

/// `GET /docs/…`: a file of the page.
pub(super) async fn file<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.other);
    call.end(sound.and_then(|()| swagger_file(request.uri().path().trim_start_matches("/docs/"))))
}

/// `GET /problems/{name}`: where the `type` of a problem leads.
pub(super) async fn problem_page<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.other);
    let name = request.uri().path().trim_start_matches("/problems/");
    call.end(sound.and_then(|()| {
        let kind = KINDS.iter().find(|kind| kind.name == name);
        let kind = kind.ok_or_else(|| Problem::new(&UNKNOWN_PATH, "there is no such type of problem"))?;
        Ok(text("text/plain; charset=utf-8", Body::from(kind.page())))
    }))
}

fn swagger_file(name: &str) -> Result<Response, Problem> {
    // Without "none" the page would send the document to a validator on the internet; with the
    // standalone layout it would offer to load documents from anywhere.
    let config = Config::from("../openapi.json").validator_url("none").use_base_layout();
    let file = utoipa_swagger_ui::serve(name, Arc::new(config)).map_err(|fault| {
        tracing::error!(%fault, "a file of the documentation cannot be served");
        Problem::new(&INTERNAL, "the file cannot be served")
    })?;
    let file = file.ok_or_else(|| Problem::new(&UNKNOWN_PATH, "the documentation has no such file"))?;
    // A file that is served as it is stays in the program's image and is not copied.
    let bytes = match file.bytes {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
    };
    Ok(text(&file.content_type, Body::from(bytes)))
}

fn text(content_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(FROM_HERE_ONLY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}
