//! `POST /v1/orders`: a request becomes an order, or is refused before anything is stored.

use std::sync::Arc;

use api::{Accepted, Order};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use common::order::CorrelationId;

use super::{
    Accept, Api, Show, body,
    call::{Call, json_answer},
    headers::{self, IDEMPOTENCY_REPLAYED},
    openapi,
    prefer::{self, X_PREFERENCE_APPLIED},
    problem::{
        BODY_TOO_LARGE, BUSY, IDEMPOTENCY_KEY_REQUIRED, IDEMPOTENCY_KEY_REUSED, INTERNAL, INVALID_HEADER,
        INVALID_ORDER, Kind, MALFORMED_JSON, NESTED_TOO_DEEPLY, Problem, REQUEST_TIMEOUT, STORE_UNAVAILABLE,
        UNREADABLE_BODY, UNSUPPORTED_MEDIA_TYPE,
    },
    waiting::{News, Place},
};
use crate::intake::NewOrder;
use crate::views;
use store::{NotAccepted, Placed, Receipt};

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 13] = [
    &INVALID_HEADER,
    &UNREADABLE_BODY,
    &MALFORMED_JSON,
    &NESTED_TOO_DEEPLY,
    &IDEMPOTENCY_KEY_REQUIRED,
    &REQUEST_TIMEOUT,
    &BODY_TOO_LARGE,
    &UNSUPPORTED_MEDIA_TYPE,
    &INVALID_ORDER,
    &IDEMPOTENCY_KEY_REUSED,
    &BUSY,
    &STORE_UNAVAILABLE,
    &INTERNAL,
];

/// Place an order
///
/// When it is accepted it is on disk, and every destination will be told. Sent again under the same
/// `Idempotency-Key` it is not placed again: the first order is the answer. With `Prefer: wait=N` the
/// answer comes when every destination has an outcome, or after N seconds. A body has at most
/// 262144 bytes (256 KiB) and must arrive within 10 seconds.
#[utoipa::path(
    post,
    path = "/v1/orders",
    tag = "orders",
    params(
        ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 512,
         description = "Makes it safe to send the order again: 1 to 255 visible ASCII characters, in quotes as \
                        a structured field string (RFC 9651), or bare."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for the request: 1 to 128 visible ASCII characters. It goes along to \
                        every destination; one is made where it is absent."),
        ("traceparent" = Option<String>, Header, nullable = false,
         description = "W3C Trace Context; ignored where it is not valid."),
        ("Prefer" = Option<String>, Header, nullable = false,
         description = "`wait=N` (RFC 7240): wait up to N seconds until every destination has an outcome. Other \
                        preferences are ignored."),
    ),
    request_body(content = api::NewOrder, content_type = "application/json",
                 example = openapi::new_order_example),
    responses(
        (status = 202, description = "The order is on disk, and every destination will be told.",
         body = Accepted, content_type = "application/json",
         headers(
             ("Location" = String, description = "Where the order is shown."),
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Idempotency-Replayed" = String,
              description = "`true` where the order was placed by an earlier request under the same key."),
             ("Preference-Applied" = String, description = "`wait=N`, where it was waited up to N seconds."),
             ("Vary" = String, description = "`Prefer`, where a preference was applied.")
         ),
         example = openapi::accepted_example),
        (status = 200, description = "It was waited, and every destination has an outcome: the order as it is shown.",
         body = Order, content_type = "application/json",
         headers(
             ("Location" = String, description = "Where the order is shown."),
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Idempotency-Replayed" = String,
              description = "`true` where the order was placed by an earlier request under the same key."),
             ("Preference-Applied" = String, description = "`wait=N`: it was waited up to N seconds."),
             ("Vary" = String, description = "`Prefer`")
         ),
         example = openapi::shown_example),
    ),
)]
pub(super) async fn place_order<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.place_order);
    let answer = answer(&api, &call.correlation_id, sound, request).await;
    call.end(answer)
}

async fn answer<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    sound: Result<(), Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let wait = prefer::wait(request.headers());
    let placed = read(api, correlation_id, sound, request).await?;
    let place = wait.and_then(|wait| api.waiting.place(wait));
    // Before the order is accepted, so that no outcome can come unheard.
    let news = place.as_ref().map(|_| News::of_new(&api.watch, placed.order_id));
    let receipt = api.intake.accept(placed).await.map_err(|refusal| refused(refusal, correlation_id))?;
    tracing::debug!(
        order_id = %receipt.order_id,
        %correlation_id,
        replayed = receipt.replayed,
        "order accepted"
    );
    let shown = match (&place, news) {
        (Some(place), Some(news)) => wait_for(api, &receipt, news, place).await,
        _ => None,
    };
    let mut response = match &shown {
        Some(order) if order.is_settled() => json_answer(StatusCode::OK, order)?,
        _ => accepted(api, &receipt, shown.as_ref())?,
    };
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("/v1/orders/{}", receipt.order_id)) {
        headers.insert(header::LOCATION, location);
    }
    if receipt.replayed {
        headers.insert(&IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(applied) = place.and_then(|place| prefer::applied(place.wait)) {
        headers.insert(&X_PREFERENCE_APPLIED, applied);
        headers.insert(header::VARY, HeaderValue::from_static("Prefer"));
    }
    Ok(response)
}

/// The order as it is when it is settled, or when it is waited no longer.
async fn wait_for<A: Accept, S: Show>(api: &Api<A, S>, receipt: &Receipt, news: News, place: &Place) -> Option<Order> {
    let mut news = if receipt.replayed { News::of_known(&api.watch, receipt.order_id) } else { news };
    let shown = api.waiting.wait_settled(&api.orders, &mut news, place.wait).await;
    // It is accepted all the same, and the client can ask.
    let (order_id, correlation_id) = (receipt.order_id, &receipt.correlation_id);
    shown.inspect_err(|fault| tracing::warn!(%order_id, %correlation_id, %fault, "cannot look at an order")).ok()?
}

/// The order as far as it is known.
fn accepted<A, S>(api: &Api<A, S>, receipt: &Receipt, shown: Option<&Order>) -> Result<Response, Problem> {
    let deliveries = shown.map_or(&api.pending, |order| &order.deliveries).clone();
    json_answer(StatusCode::ACCEPTED, &views::order::accepted(receipt, deliveries))
}

/// Headers first: a body that they rule out is not kept.
async fn read<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    sound: Result<(), Problem>,
    request: Request,
) -> Result<Placed, Problem> {
    let (head, body) = request.into_parts();
    let json = sound.and_then(|()| headers::json_body(&head.headers));
    let key = match json.and_then(|()| headers::idempotency_key(&head.headers)) {
        Ok(key) => key,
        Err(problem) => {
            body::discard(&head.headers, body).await;
            return Err(problem);
        }
    };
    let body = api.bodies.read(&head.headers, body).await?;

    let order = NewOrder::read(&body).map_err(|unread| unread.problem(Problem::invalid))?;
    api.keys.placed(order, key, correlation_id, &head.headers)
}

pub(super) fn refused(reason: NotAccepted, correlation_id: &CorrelationId) -> Problem {
    match reason {
        NotAccepted::Busy => Problem::new(&BUSY, "too many orders are waiting"),
        NotAccepted::Store(cause) => {
            tracing::error!(%correlation_id, cause, "an order could not be stored");
            Problem::new(&STORE_UNAVAILABLE, "the order could not be stored")
        }
        NotAccepted::KeyReused => Problem::new(&IDEMPOTENCY_KEY_REUSED, "Idempotency-Key stands for another order"),
    }
}
