//! Redrives: dead letters are sent again, and the sending is listed, shown and controlled.
//!
//! A `new_redrive` is read from a body; `event` is the event that one dead letter is sent with in place of
//! its own.

mod examples;
mod new_redrive;
mod earlier_fingerprint;
mod event;
mod create;
mod list;
mod show;
mod control;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    edge::problem::{Problem, UNKNOWN_REDRIVE},
};

/// The routes.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(create::create, list::list))
        .routes(routes!(show::show))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::cancel))
}

fn unknown() -> Problem {
    Problem::new(&UNKNOWN_REDRIVE, "no redrive has this id")
}
