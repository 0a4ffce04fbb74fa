//! The correlation id: every request has one, and every response names it.

use axum::{
    extract::{Extension, Request},
    http::{HeaderValue, header::HeaderName},
    response::Response,
};
use common::order::CorrelationId;
use utoipa::openapi::{
    ObjectBuilder, OpenApi, RefOr, Type,
    path::{ParameterBuilder, ParameterIn},
};

use super::{
    headers,
    openapi::{operations_mut, text_header},
    problem::Problem,
};

/// In the spelling of the documentation; header names are compared without regard to case.
pub(in crate::http) const CORRELATION_ID: &str = "X-Correlation-ID";

static X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The correlation id of a request, for its handler.
pub(in crate::http) type Correlated = Extension<CorrelationId>;

/// Takes the client's correlation id, or makes one, and keeps it in the request for its handler.
///
/// # Errors
/// The client's is invalid.
pub(super) fn take(request: &mut Request) -> Result<CorrelationId, Problem> {
    let correlation_id = match headers::single(request.headers(), CORRELATION_ID)? {
        Some(sent) => parse(sent)?,
        None => CorrelationId::fresh(),
    };
    request.extensions_mut().insert(correlation_id.clone());
    Ok(correlation_id)
}

fn parse(sent: &HeaderValue) -> Result<CorrelationId, Problem> {
    // Bytes beyond ASCII become characters that are refused.
    let text = String::from_utf8_lossy(sent.as_bytes()).into_owned();
    CorrelationId::parse(text).map_err(|invalid| Problem::header(CORRELATION_ID, invalid.to_string()))
}

/// Names the correlation id in the response. A problem is rendered here, whichever handler or layer further
/// in refused the request: its body contains the correlation id.
pub(super) fn name(response: &mut Response, correlation_id: &CorrelationId) {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.render(response, correlation_id);
    }
    // A correlation id has only characters that a header may have.
    if let Ok(echo) = HeaderValue::from_str(correlation_id.as_str()) {
        response.headers_mut().insert(&X_CORRELATION_ID, echo);
    }
}

/// Describes the header in every operation of the document, in requests and responses.
pub(in crate::http) fn describe(document: &mut OpenApi) {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(128))
        .pattern(Some("^[!-~]*$"));
    let parameter = ParameterBuilder::new()
        .name(CORRELATION_ID)
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "The client's name for the request: 1 to 128 visible ASCII characters. It is passed on to every \
             destination and appears in logs; the server makes one if it is absent.",
        ))
        .schema(Some(schema))
        .build();
    for operation in operations_mut(document) {
        operation.parameters.get_or_insert_default().insert(0, parameter.clone().into());
        for response in operation.responses.responses.values_mut() {
            if let RefOr::T(response) = response {
                let header = text_header("The correlation id of this request.");
                response.headers.insert(CORRELATION_ID.to_owned(), header.into());
            }
        }
    }
}
