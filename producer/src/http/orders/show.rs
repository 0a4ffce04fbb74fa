//! `GET /v1/orders/{order_id}`: an order as it is now, or as soon as it is settled.

use std::sync::Arc;

use api::Order;
use axum::{extract::State, http::HeaderMap, response::Response};
use common::order::OrderId;

use super::{examples, unknown, waiting::Subscription};
use crate::{
    http::{
        Api,
        edge::{
            etag::tagged_json,
            path::PathId,
            prefer::{self, PREFERENCE_APPLIED, PreferWait},
            problem::{Problem, STORE, UNKNOWN_ORDER, problems},
        },
    },
    views,
};

problems!(Refusals: STORE, [&UNKNOWN_ORDER]);

/// Follow an order
///
/// The order as it is now: the state of each delivery, every attempt, and the one status that sums them
/// up. With `Prefer: wait=N` the response comes when no delivery is pending, or after N seconds. With
/// `If-None-Match` an order that has not changed is not sent again.
#[utoipa::path(
    get,
    path = "/v1/orders/{order_id}",
    tag = "orders",
    params(
        ("order_id" = Uuid, Path, description = "The id that was returned when the order was accepted."),
        PreferWait,
        ("If-None-Match" = Option<String>, Header, nullable = false, description = "An `ETag` of an earlier response."),
    ),
    responses(
        (status = 200, description = "The order.", body = Order, content_type = "application/json",
         headers(
             ("Cache-Control" = String, description = "`no-cache`: it may be cached, and must be revalidated."),
             ("ETag" = String, description = "Identifies this state of the order."),
             ("Vary" = String, description = "`Prefer`"),
             ("Preference-Applied" = String, description = "`wait=N`, if the server waited up to N seconds.")
         ),
         example = examples::shown),
        (status = 304, description = "The client already has this state of the order.",
         headers(
             ("Cache-Control" = String, description = "`no-cache`"),
             ("ETag" = String, description = "Identifies this state of the order."),
             ("Vary" = String, description = "`Prefer`"),
             ("Preference-Applied" = String, description = "`wait=N`, if the server waited up to N seconds.")
         )),
        Refusals,
    ),
)]
pub(super) async fn show_order(
    State(api): State<Arc<Api>>,
    PathId(id): PathId,
    PreferWait(wait): PreferWait,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = id.map(OrderId).ok_or_else(unknown)?;
    let permit = wait.and_then(|wait| api.limits.waiting.permit(wait));
    let order = match &permit {
        Some(permit) => {
            let mut subscription = Subscription::to_known(&api.watch, order_id);
            api.limits.waiting.wait_settled(&api.desk, &mut subscription, permit.wait).await?
        }
        None => api.desk.order(order_id).await?.map(views::order::order),
    };
    let mut response = tagged_json(&headers, &order.ok_or_else(unknown)?)?;
    if let Some(applied) = permit.and_then(|permit| prefer::applied(permit.wait)) {
        response.headers_mut().insert(&PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}
