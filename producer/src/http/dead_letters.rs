//! Dead letters: listed, grouped, shown, and archived.

mod examples;
mod filter;
mod list;
mod group;
mod show;
mod archive;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::{
    examples::example,
    filter::{EMPTY_SPAN, MAX_ERROR_CHARS, destination, is_empty_span, reason},
};
use super::{
    Api,
    edge::problem::{Problem, UNKNOWN_DEAD_LETTER},
};

/// The routes.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list::list_dead_letters))
        .routes(routes!(group::group_dead_letters))
        .routes(routes!(show::show_dead_letter))
        .routes(routes!(archive::archive_dead_letter))
        .routes(routes!(archive::unarchive_dead_letter))
}

fn unknown() -> Problem {
    Problem::new(&UNKNOWN_DEAD_LETTER, "no dead letter has this id")
}
