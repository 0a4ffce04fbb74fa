//! `GET /v1/orders/{order_id}`: an order as it is now.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use common::order::{CorrelationId, OrderId};
use uuid::Uuid;

use super::{
    Accept, Api, Show,
    call::{Call, json_answer},
    openapi,
    problem::{BUSY, INTERNAL, INVALID_HEADER, Kind, Problem, STORE_UNAVAILABLE, UNKNOWN_ORDER},
};
use crate::{status::OrderView, store::StoreFault};

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &UNKNOWN_ORDER, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// The text form of an id has this length, and no other form names an order.
const UUID_CHARS: usize = 36;

/// Follow an order
///
/// The order as it is now: how far each delivery is, every attempt, and the one status folded from
/// them.
#[utoipa::path(
    get,
    path = "/v1/orders/{order_id}",
    tag = "orders",
    params(
        ("order_id" = Uuid, Path, description = "The id that was answered when the order was accepted."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The order.", body = OrderView, content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request, not the order's."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::shown_example),
    ),
)]
pub(super) async fn show_order<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.show_order);
    let answer = match sound {
        Ok(()) => answer(&api, &call.correlation_id, request.uri().path()).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn answer<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    path: &str,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(&UNKNOWN_ORDER, "no order has this id");
    let order_id = order_id(path).ok_or_else(unknown)?;
    let found = api.orders.order(order_id).await.map_err(|fault| match fault {
        StoreFault::Busy => Problem::new(&BUSY, "too many requests are waiting"),
        fault => {
            tracing::error!(%order_id, %correlation_id, %fault, "an order could not be read");
            Problem::new(&STORE_UNAVAILABLE, "the order could not be read")
        }
    })?;
    json_answer(StatusCode::OK, &found.ok_or_else(unknown)?)
}

/// The id at the end of the path, taken by hand, because what is no id is an order that does not
/// exist, in whatever way it is none.
fn order_id(path: &str) -> Option<OrderId> {
    let text = path.rsplit('/').next().filter(|text| text.len() == UUID_CHARS)?;
    Uuid::try_parse(text).map(OrderId).ok()
}
