//! A refusal (RFC 9457).

use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// A refusal (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Problem {
    /// The type of problem; the URI leads to a page about it.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(format = "uri-reference", example = "/problems/invalid-order"))]
    pub uri: String,
    /// The type in words.
    pub title: String,
    /// The status code of the response.
    pub status: u16,
    /// What is wrong this time.
    pub detail: String,
    /// Identifies this request in the log of the server.
    pub correlation_id: String,
    /// Every fault that was found in fields, headers or parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(required = false, max_items = 20))]
    pub errors: Vec<Fault>,
    /// How many faults are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub errors_omitted: usize,
}

/// One fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Fault {
    /// Where in the body: a JSON pointer as URI fragment (RFC 6901, section 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, example = "#/items/0/qty"))]
    pub pointer: Option<String>,
    /// The header of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub header: Option<String>,
    /// The parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub parameter: Option<String>,
    /// What is wrong there.
    #[cfg_attr(feature = "openapi", schema(example = "must be between 1 and 1000000"))]
    pub detail: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this form")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
