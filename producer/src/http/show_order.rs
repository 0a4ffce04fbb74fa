//! `GET /v1/orders/{order_id}`: an order as it is now, or as soon as it is settled.

use std::sync::Arc;

use api::Order;
use axum::{
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};
use common::order::OrderId;

use super::{
    Accept, Api, Show,
    call::{self, Call},
    etag::tagged_json,
    openapi,
    prefer::{self, X_PREFERENCE_APPLIED},
    problem::{BUSY, INTERNAL, INVALID_HEADER, Kind, Problem, STORE_UNAVAILABLE, UNKNOWN_ORDER},
    waiting::News,
};
use store::StoreFault;

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &UNKNOWN_ORDER, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// Follow an order
///
/// The order as it is now: how far each delivery is, every attempt, and the one status folded from
/// them. With `Prefer: wait=N` the answer comes when no delivery is pending any more, or after N
/// seconds. With `If-None-Match` an order that has not changed is not sent again.
#[utoipa::path(
    get,
    path = "/v1/orders/{order_id}",
    tag = "orders",
    params(
        ("order_id" = Uuid, Path, description = "The id that was answered when the order was accepted."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
        ("Prefer" = Option<String>, Header, nullable = false,
         description = "`wait=N` (RFC 7240): wait up to N seconds until the order is settled. Other preferences \
                        are ignored."),
        ("If-None-Match" = Option<String>, Header, nullable = false,
         description = "An `ETag` that was answered before."),
    ),
    responses(
        (status = 200, description = "The order.", body = Order, content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request, not the order's."),
             ("Cache-Control" = String, description = "`no-cache`: it may be kept, and has to be asked for again"),
             ("ETag" = String, description = "Names what is shown."),
             ("Vary" = String, description = "`Prefer`"),
             ("Preference-Applied" = String, description = "`wait=N`, where it was waited up to N seconds.")
         ),
         example = openapi::shown_example),
        (status = 304, description = "It is as the client has it.",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request, not the order's."),
             ("Cache-Control" = String, description = "`no-cache`"),
             ("ETag" = String, description = "Names what would be shown."),
             ("Vary" = String, description = "`Prefer`"),
             ("Preference-Applied" = String, description = "`wait=N`, where it was waited up to N seconds.")
         )),
    ),
)]
pub(super) async fn show_order<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let (call, sound) = Call::begin(&head.headers, &api.metrics.show_order);
    let answer = match sound {
        Ok(()) => answer(&api, &head).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn answer<A: Accept, S: Show>(api: &Api<A, S>, head: &Parts) -> Result<Response, Problem> {
    let headers = &head.headers;
    let order_id = order_id(head.uri.path()).ok_or_else(unknown)?;
    let place = prefer::wait(headers).and_then(|wait| api.waiting.place(wait));
    let found = match &place {
        Some(place) => {
            let mut news = News::of_known(&api.watch, order_id);
            api.waiting.wait_settled(&api.orders, &mut news, place.wait).await
        }
        None => api.orders.order(order_id).await,
    };
    let found = found.map_err(|fault| unreadable(order_id, &fault))?;
    let mut response = tagged_json(headers, &found.ok_or_else(unknown)?)?;
    if let Some(applied) = place.and_then(|place| prefer::applied(place.wait)) {
        response.headers_mut().insert(&X_PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

pub(super) fn unknown() -> Problem {
    Problem::new(&UNKNOWN_ORDER, "no order has this id")
}

pub(super) fn unreadable(order_id: OrderId, fault: &StoreFault) -> Problem {
    if *fault == StoreFault::Busy {
        return Problem::new(&BUSY, "too many requests are waiting");
    }
    tracing::error!(%order_id, %fault, "an order could not be read");
    Problem::new(&STORE_UNAVAILABLE, "the order could not be read")
}

/// The order in the path.
pub(super) fn order_id(path: &str) -> Option<OrderId> {
    call::id(path).map(OrderId)
}
