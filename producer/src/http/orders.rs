//! Orders: placed alone or in batches, shown, listed, and followed live.
//!
//! A `new_order` and a `new_batch` are read from a body, clients that want the result are `waiting`, and
//! `streams` are how events are sent.

pub(super) mod examples;
mod new_order;
mod new_batch;
mod waiting;
mod place;
mod place_batch;
mod show;
mod list;
mod streams;
mod follow;
mod feed;
mod steer;

use std::{collections::BTreeMap, sync::Arc};

use api::Delivery;
use common::destination::Name;
use store::Placed;
use utoipa_axum::{router::OpenApiRouter, routes};

#[cfg(test)]
pub(super) use self::new_batch::MAX_ORDERS;
pub(super) use self::{streams::Streams, waiting::Waiting};
use super::{
    Api,
    edge::problem::{IDEMPOTENCY_KEY_REQUIRED, Problem, UNKNOWN_ORDER},
};
use crate::intake::{Caller, NewOrder};

/// The routes.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(place::place_order, list::list_orders))
        .routes(routes!(place_batch::place_batch))
        .routes(routes!(show::show_order))
        .routes(routes!(follow::order_events))
        .routes(routes!(feed::events))
        .routes(routes!(steer::retry_delivery))
        .routes(routes!(steer::cancel_delivery))
}

/// The order that goes to intake.
fn placed(api: &Api, order: NewOrder, caller: Caller) -> Result<Placed, Problem> {
    if api.limits.key_required && caller.key.is_none() {
        return Err(Problem::new(&IDEMPOTENCY_KEY_REQUIRED, "the order has no idempotency key"));
    }
    Ok(order.placed(caller, api.limits.key_ttl)?)
}

/// The deliveries of an order that was accepted just now.
fn pending(destinations: &[Name]) -> BTreeMap<String, Delivery> {
    destinations.iter().map(|name| (name.to_string(), Delivery::pending())).collect()
}

fn unknown() -> Problem {
    Problem::new(&UNKNOWN_ORDER, "no order has this id")
}
