//! `POST /v1/orders/{order_id}/deliveries/{destination}/retry` and `/cancel`: the end of a wait.

use std::sync::Arc;

use api::Steered as Body;
use axum::{
    extract::{Extension, State},
    http::StatusCode,
    response::Response,
};
use common::{destination::Name, event::now, order::OrderId};
use store::Steered;

use super::{examples, unknown};
use crate::http::{
    Api,
    edge::{
        correlation::Correlated,
        path::{PathDestination, PathId},
        problem::{DELIVERY_ENDED, DELIVERY_UNDER_WAY, Problem, STORE, UNKNOWN_DELIVERY, UNKNOWN_ORDER, problems},
        response::json,
    },
};

problems!(RetryRefusals: STORE, [&UNKNOWN_ORDER, &UNKNOWN_DELIVERY, &DELIVERY_ENDED]);
problems!(CancelRefusals: STORE, [&UNKNOWN_ORDER, &UNKNOWN_DELIVERY, &DELIVERY_ENDED, &DELIVERY_UNDER_WAY]);

/// Attempt a delivery now
///
/// Ends the wait of a delivery for its next attempt. It keeps its idempotency key, its attempts and its limit. One
/// that waits for a few seconds only, or is in its queue, is attempted soon by itself: the response says so.
#[utoipa::path(
    post,
    path = "/v1/orders/{order_id}/deliveries/{destination}/retry",
    tag = "orders",
    params(
        ("order_id" = Uuid, Path, description = "The id that was returned when the order was accepted."),
        ("destination" = String, Path, description = "The destination, as it is named in the order's deliveries."),
    ),
    responses(
        (status = 202, description = "It is attempted as soon as a worker takes it.", body = Body,
         content_type = "application/json",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::retried),
        RetryRefusals,
    ),
)]
pub(super) async fn retry_delivery(
    State(api): State<Arc<Api>>,
    Extension(correlation_id): Correlated,
    PathId(id): PathId,
    PathDestination(destination): PathDestination,
) -> Result<Response, Problem> {
    let (order_id, destination) = delivery(id.map(OrderId), destination)?;
    let steered = api.desk.retry(order_id, destination.clone(), now()).await?;
    let detail = match steered {
        Steered::Done => {
            tracing::info!(%order_id, %destination, %correlation_id, "the wait of a delivery is over by request");
            api.begun.at(&destination);
            "its wait is over: it is attempted as soon as a worker takes it"
        }
        Steered::UnderWay => "it is in its queue or with a worker, and is attempted within 30 seconds by itself",
        refused => return Err(refusal(refused)),
    };
    steer(&api, order_id, &destination, detail)
}

/// Cancel a delivery that waits
///
/// Ends a delivery that waits for its next attempt: it becomes a dead letter with the reason `cancelled`, which can be
/// sent again. What a worker has in hand cannot be cancelled.
#[utoipa::path(
    post,
    path = "/v1/orders/{order_id}/deliveries/{destination}/cancel",
    tag = "orders",
    params(
        ("order_id" = Uuid, Path, description = "The id that was returned when the order was accepted."),
        ("destination" = String, Path, description = "The destination, as it is named in the order's deliveries."),
    ),
    responses(
        (status = 202, description = "It is a dead letter.", body = Body, content_type = "application/json",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::cancelled),
        CancelRefusals,
    ),
)]
pub(super) async fn cancel_delivery(
    State(api): State<Arc<Api>>,
    Extension(correlation_id): Correlated,
    PathId(id): PathId,
    PathDestination(destination): PathDestination,
) -> Result<Response, Problem> {
    let (order_id, destination) = delivery(id.map(OrderId), destination)?;
    let steered = api.desk.cancel(order_id, destination.clone(), now()).await?;
    if steered != Steered::Done {
        return Err(refusal(steered));
    }
    tracing::warn!(%order_id, %destination, %correlation_id, reason = "cancelled", "a delivery is cancelled by request");
    steer(&api, order_id, &destination, CANCELLED)
}

/// What is said of a delivery that was cancelled.
pub(super) const CANCELLED: &str = "it is a dead letter now, with the reason cancelled";

fn delivery(order_id: Option<OrderId>, destination: Option<Name>) -> Result<(OrderId, Name), Problem> {
    let order_id = order_id.ok_or_else(unknown)?;
    Ok((order_id, destination.ok_or_else(|| refusal(Steered::UnknownDestination))?))
}

fn refusal(steered: Steered) -> Problem {
    match steered {
        Steered::UnknownOrder => unknown(),
        Steered::UnknownDestination => {
            Problem::new(&UNKNOWN_DELIVERY, "the order is not delivered to this destination")
        }
        Steered::Ended(status) => Problem::new(&DELIVERY_ENDED, format!("the delivery is {}", status.as_str())),
        Steered::Done | Steered::UnderWay => {
            Problem::new(&DELIVERY_UNDER_WAY, "the delivery is in its queue or with a worker")
        }
    }
}

fn steer(api: &Api, order_id: OrderId, destination: &Name, detail: &str) -> Result<Response, Problem> {
    api.watch.changed(&[order_id]);
    let (order_id, destination) = (order_id.to_string(), destination.to_string());
    json(StatusCode::ACCEPTED, &Body { order_id, destination, detail: detail.to_owned() })
}
