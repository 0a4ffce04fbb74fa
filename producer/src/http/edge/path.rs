//! The names in the path of a request.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};
use common::destination::Name;
use uuid::Uuid;

/// The text form of an id has this length, and no other form names anything.
const UUID_CHARS: usize = 36;
/// The segment of a path such as `/v1/orders/{id}` that is the id.
const ID_SEGMENT: usize = 3;
/// The segment of a path such as `/v1/orders/{id}/deliveries/{destination}/retry` that is the destination.
const DESTINATION_SEGMENT: usize = 5;

/// The id in the path, if it is one. It is taken from the raw path, because anything else, percent-encoded
/// or not, is just the name of something that does not exist.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct PathId(pub(in crate::http) Option<Uuid>);

impl<S: Sync> FromRequestParts<S> for PathId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let text = parts.uri.path().split('/').nth(ID_SEGMENT).filter(|text| text.len() == UUID_CHARS);
        Ok(Self(text.and_then(|text| Uuid::try_parse(text).ok())))
    }
}

/// The destination in the path, if it is a name that one can have. No such name needs percent-encoding.
#[derive(Clone, Debug)]
pub(in crate::http) struct PathDestination(pub(in crate::http) Option<Name>);

impl<S: Sync> FromRequestParts<S> for PathDestination {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.uri.path().split('/').nth(DESTINATION_SEGMENT).and_then(|text| text.parse().ok())))
    }
}
