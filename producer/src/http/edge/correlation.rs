//! The correlation id: every request has one, and every response names it.

use axum::{
    extract::{Extension, Request},
    http::{HeaderValue, header::HeaderName},
    middleware::Next,
    response::{IntoResponse as _, Response},
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

/// Takes the client's correlation id, or makes one, and adds it to the response. A request with an invalid
/// one goes no further, and its response has a fresh one.
///
/// A problem is rendered here, whichever handler or layer further in refused the request: its body contains
/// the correlation id.
pub(super) async fn correlate(mut request: Request, next: Next) -> Response {
    let (correlation_id, mut response) = match sent(&request) {
        Ok(sent) => {
            let correlation_id = sent.unwrap_or_else(CorrelationId::fresh);
            request.extensions_mut().insert(correlation_id.clone());
            (correlation_id, next.run(request).await)
        }
        Err(problem) => (CorrelationId::fresh(), problem.into_response()),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.render(&mut response, &correlation_id);
    }
    // A correlation id has only characters that a header may have.
    if let Ok(echo) = HeaderValue::from_str(correlation_id.as_str()) {
        response.headers_mut().insert(&X_CORRELATION_ID, echo);
    }
    response
}

fn sent(request: &Request) -> Result<Option<CorrelationId>, Problem> {
    let Some(value) = headers::single(request.headers(), CORRELATION_ID)? else { return Ok(None) };
    // Bytes beyond ASCII become characters that are refused.
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    CorrelationId::parse(text).map(Some).map_err(|invalid| Problem::header(CORRELATION_ID, invalid.to_string()))
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
