//! `POST /v1/orders`.

use std::sync::Arc;

use api::{Accepted, Order};
use axum::{
    extract::{Extension, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use store::Receipt;

use super::{
    examples,
    new_order::OrderShape,
    pending, placed,
    waiting::{Permit, Subscription},
};
use crate::{
    http::{
        Api,
        edge::{
            body::Json,
            correlation::Correlated,
            headers::{IDEMPOTENCY_REPLAYED, IdempotencyKey, Trace},
            prefer::{self, PREFERENCE_APPLIED, PreferWait},
            problem::{
                BODY, IDEMPOTENCY_KEY_REQUIRED, IDEMPOTENCY_KEY_REUSED, INVALID_ORDER, Problem, STORE, problems,
            },
            response::json,
        },
    },
    intake::Caller,
    views,
};

problems!(Refusals: BODY, STORE, [&IDEMPOTENCY_KEY_REQUIRED, &INVALID_ORDER, &IDEMPOTENCY_KEY_REUSED]);

/// Place an order
///
/// An accepted order is on disk, and every destination will be called. Sent again under the same
/// `Idempotency-Key`, it is not placed again: the response names the first order, whose present state is at
/// `Location`. With `Prefer: wait=N`
/// the response comes when every delivery has ended, or after N seconds. A body has at most 262144 bytes
/// (256 KiB) and must arrive within 10 seconds.
#[utoipa::path(
    post,
    path = "/v1/orders",
    tag = "orders",
    params(IdempotencyKey, Trace, PreferWait),
    request_body(content = api::NewOrder, content_type = "application/json", example = examples::new_order),
    responses(
        (status = 202, description = "The order is on disk, and every destination will be called.",
         body = Accepted, content_type = "application/json",
         headers(
             ("Location" = String, description = "The path of the order."),
             ("Idempotency-Replayed" = String,
              description = "`true` if an earlier request under the same key placed the order."),
             ("Preference-Applied" = String, description = "`wait=N`, if the server waited up to N seconds."),
             ("Vary" = String, description = "`Prefer`, if a preference was applied.")
         ),
         example = examples::accepted),
        (status = 200, description = "The server waited, and every delivery has ended: the order as it is shown.",
         body = Order, content_type = "application/json",
         headers(
             ("Location" = String, description = "The path of the order."),
             ("Idempotency-Replayed" = String,
              description = "`true` if an earlier request under the same key placed the order."),
             ("Preference-Applied" = String, description = "`wait=N`: the server waited up to N seconds."),
             ("Vary" = String, description = "`Prefer`")
         ),
         example = examples::shown),
        Refusals,
    ),
)]
pub(super) async fn place_order(
    State(api): State<Arc<Api>>,
    Extension(correlation_id): Correlated,
    IdempotencyKey(key): IdempotencyKey,
    Trace(trace): Trace,
    PreferWait(wait): PreferWait,
    Json(order): Json<OrderShape>,
) -> Result<Response, Problem> {
    let placed = placed(&api, order, Caller { correlation_id, trace, key })?;
    let permit = wait.and_then(|wait| api.limits.waiting.permit(wait));
    // Before the order is accepted, so that no outcome is missed.
    let subscription = permit.as_ref().map(|_| Subscription::to_new(&api.watch, placed.order_id));
    let receipt = api.intake.accept(placed).await?;
    let Receipt { order_id, correlation_id, replayed } = &receipt;
    tracing::debug!(%order_id, %correlation_id, replayed, "order accepted");
    let shown = match (&permit, subscription) {
        (Some(permit), Some(subscription)) => wait_for(&api, &receipt, subscription, permit).await,
        _ => None,
    };
    let mut response = match shown {
        Some(order) if order.is_settled() => json(StatusCode::OK, &order)?,
        shown => {
            let deliveries = shown.map_or_else(|| pending(&api.destinations), |order| order.deliveries);
            json(StatusCode::ACCEPTED, &views::order::accepted(&receipt, deliveries))?
        }
    };
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("/v1/orders/{}", receipt.order_id)) {
        headers.insert(header::LOCATION, location);
    }
    if receipt.replayed {
        headers.insert(&IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(applied) = permit.and_then(|permit| prefer::applied(permit.wait)) {
        headers.insert(&PREFERENCE_APPLIED, applied);
        headers.insert(header::VARY, HeaderValue::from_static("Prefer"));
    }
    Ok(response)
}

/// The order once it is settled, or as it is when the wait is over.
async fn wait_for(api: &Api, receipt: &Receipt, subscription: Subscription, permit: &Permit) -> Option<Order> {
    let Receipt { order_id, correlation_id, replayed } = receipt;
    let mut subscription = if *replayed { Subscription::to_known(&api.watch, *order_id) } else { subscription };
    let shown = api.limits.waiting.wait_settled(&api.desk, &mut subscription, permit.wait).await;
    // The order is accepted all the same, and the client can ask.
    shown.inspect_err(|fault| tracing::warn!(%order_id, %correlation_id, %fault, "cannot read an order")).ok()?
}
