//! The documentation: the OpenAPI document, the page that shows it, and a page for each type of problem.

mod openapi;
mod pages;

use std::sync::Arc;

use axum::{Router, routing::get};

pub(super) use self::openapi::Head;
#[cfg(test)]
pub(super) use self::openapi::document;
use super::Api;

/// The routes.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/openapi.json", get(pages::openapi_json))
        .route("/docs", get(pages::to_page))
        .route("/docs/", get(pages::file))
        .route("/docs/{*file}", get(pages::file))
        .route("/problems/{name}", get(pages::problem))
}
