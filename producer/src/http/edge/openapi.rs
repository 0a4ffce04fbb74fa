//! What every part of the edge needs to read or extend the OpenAPI document.

use axum::http::Method;
use utoipa::openapi::{Header, HeaderBuilder, Object, OpenApi, PathItem, Type, path::Operation};

/// Path and method of every operation.
pub(in crate::http) fn operations(document: &OpenApi) -> impl Iterator<Item = (&str, Method)> {
    document.paths.paths.iter().flat_map(|(path, item)| {
        let PathItem { get, post, put, patch, delete, .. } = item;
        let all = [
            (Method::GET, get),
            (Method::POST, post),
            (Method::PUT, put),
            (Method::PATCH, patch),
            (Method::DELETE, delete),
        ];
        all.into_iter().filter(|(_, operation)| operation.is_some()).map(|(method, _)| (path.as_str(), method))
    })
}

/// Every operation.
pub(in crate::http) fn operations_mut(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        let PathItem { get, post, put, patch, delete, .. } = item;
        [get, post, put, patch, delete].into_iter().flatten()
    })
}

/// A response header with a text.
pub(in crate::http) fn text_header(description: &str) -> Header {
    HeaderBuilder::new().schema(Some(Object::with_type(Type::String))).description(Some(description)).build()
}
