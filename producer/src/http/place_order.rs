//! `POST /v1/orders`: a request becomes an order, or is refused before anything is stored.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use common::{
    event::{EventId, OrderCreated, now},
    order::{CorrelationId, OrderId},
};

use super::{
    Accept, Api, Show, body,
    call::{Call, json_answer},
    headers::{self, IDEMPOTENCY_REPLAYED},
    new_order::{NewOrder, NoOrder},
    openapi,
    problem::{
        BODY_TOO_LARGE, BUSY, IDEMPOTENCY_KEY_REUSED, INTERNAL, INVALID_HEADER, INVALID_ORDER, Kind, MALFORMED_JSON,
        NESTED_TOO_DEEPLY, Problem, REQUEST_TIMEOUT, STORE_UNAVAILABLE, UNREADABLE_BODY, UNSUPPORTED_MEDIA_TYPE,
    },
    schema,
    schema::Accepted,
};
use crate::{
    intake::{Idempotency, NotAccepted, Placed, Room},
    status::OrderStatus,
};

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 12] = [
    &INVALID_HEADER,
    &UNREADABLE_BODY,
    &MALFORMED_JSON,
    &NESTED_TOO_DEEPLY,
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
/// `Idempotency-Key` it is not placed again: the first order is the answer. A body has at most
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
         description = "RFC 7240; every preference is ignored as yet."),
    ),
    request_body(content = schema::NewOrder, content_type = "application/json",
                 example = openapi::new_order_example),
    responses(
        (status = 202, description = "The order is on disk, and every destination will be told.",
         body = Accepted<'_>, content_type = "application/json",
         headers(
             ("Location" = String, description = "Where the order is shown."),
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Idempotency-Replayed" = String,
              description = "`true` where the order was placed by an earlier request under the same key.")
         ),
         example = openapi::accepted_example),
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
    let placed = read(api, correlation_id, sound, request).await?;
    let receipt = api.intake.accept(placed).await.map_err(|refusal| refused(refusal, correlation_id))?;
    tracing::debug!(
        order_id = %receipt.order_id,
        %correlation_id,
        replayed = receipt.replayed,
        "order accepted"
    );

    let location = format!("/v1/orders/{}", receipt.order_id);
    let accepted = Accepted {
        order_id: receipt.order_id,
        correlation_id: &receipt.correlation_id,
        status: OrderStatus::Pending,
        deliveries: &api.pending,
    };
    let mut response = json_answer(StatusCode::ACCEPTED, &accepted)?;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if receipt.replayed {
        response.headers_mut().insert(&IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
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

    let order = NewOrder::read(&body).map_err(|reason| match reason {
        NoOrder::Malformed(words) => Problem::new(&MALFORMED_JSON, words),
        NoOrder::TooDeep => Problem::new(&NESTED_TOO_DEEPLY, "the body is nested deeper than 64 levels"),
        NoOrder::Invalid(faults) => Problem::invalid(faults),
    })?;
    let idempotency = key.map(|key| Idempotency { key, fingerprint: order.fingerprint() });
    let NewOrder { customer_id, items } = order;
    Ok(Placed {
        event: OrderCreated {
            event_id: EventId::fresh(),
            order_id: OrderId::new(),
            customer_id,
            items,
            correlation_id: correlation_id.clone(),
            occurred_at: now(),
        },
        trace: headers::trace(&head.headers),
        idempotency,
        room: Room::default(),
    })
}

fn refused(reason: NotAccepted, correlation_id: &CorrelationId) -> Problem {
    match reason {
        NotAccepted::Busy => Problem::new(&BUSY, "too many orders are waiting"),
        NotAccepted::Store(cause) => {
            tracing::error!(%correlation_id, cause, "an order could not be stored");
            Problem::new(&STORE_UNAVAILABLE, "the order could not be stored")
        }
        NotAccepted::KeyReused => Problem::new(&IDEMPOTENCY_KEY_REUSED, "Idempotency-Key stands for another order"),
    }
}
