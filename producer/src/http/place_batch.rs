//! `POST /v1/orders:batch`: many orders by one request and one transaction, each with an answer of its own.

use std::sync::Arc;

use api::{BatchResult, ItemResult};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use common::order::CorrelationId;

use super::{
    Accept, Api, Show, body,
    call::{Call, json_answer},
    headers::{self, IDEMPOTENCY_KEY},
    new_batch::{self, KeyedOrder},
    openapi,
    place_order::refused,
    problem::{
        BODY_TOO_LARGE, BUSY, INTERNAL, INVALID_BATCH, INVALID_HEADER, Kind, MALFORMED_JSON, NESTED_TOO_DEEPLY,
        Problem, REQUEST_TIMEOUT, UNREADABLE_BODY, UNSUPPORTED_MEDIA_TYPE,
    },
};
use crate::views;
use store::{Placed, Receipt};

/// Every way to refuse the whole.
pub(super) static PROBLEMS: [&Kind; 10] = [
    &INVALID_HEADER,
    &UNREADABLE_BODY,
    &MALFORMED_JSON,
    &NESTED_TOO_DEEPLY,
    &REQUEST_TIMEOUT,
    &BODY_TOO_LARGE,
    &UNSUPPORTED_MEDIA_TYPE,
    &INVALID_BATCH,
    &BUSY,
    &INTERNAL,
];

/// Place many orders
///
/// Up to 500 orders by one request, stored by one transaction. Each has an answer of its own, in the
/// same order; one that is refused spoils no other. An order may have an `idempotency_key` of its own,
/// which means the same as the header of that name does for one order. A body has at most 4194304
/// bytes (4 MiB) and must arrive within 10 seconds.
#[utoipa::path(
    post,
    path = "/v1/orders:batch",
    tag = "orders",
    params(
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for the request, and for every order in it; one is made where it is absent."),
        ("traceparent" = Option<String>, Header, nullable = false,
         description = "W3C Trace Context; ignored where it is not valid."),
    ),
    request_body(content = api::NewBatch, content_type = "application/json",
                 example = openapi::new_batch_example),
    responses(
        (status = 207, description = "An answer for each order, in their order.",
         body = BatchResult, content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request.")
         ),
         example = openapi::batch_example),
    ),
)]
pub(super) async fn place_batch<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.place_batch);
    let answer = answer(&api, &call.correlation_id, sound, request).await;
    call.end(answer)
}

async fn answer<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    sound: Result<(), Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let sound = sound.and_then(|()| headers::json_body(&head.headers)).and_then(|()| no_key(&head.headers));
    if let Err(problem) = sound {
        body::discard(&head.headers, body).await;
        return Err(problem);
    }
    // The turn is kept until the answer is made: it bounds the orders in memory as well as the bytes.
    let (body, _turn) = api.batches.read_in_turn(&head.headers, body).await?;
    let batch = new_batch::read(&body).map_err(|unread| unread.problem(Problem::invalid_batch))?;
    drop(body);

    let (mut wanted, mut placed) = (Vec::with_capacity(batch.len()), Vec::new());
    for order in batch {
        let order = order.map_err(Problem::invalid);
        let order =
            order.and_then(|KeyedOrder { key, order }| api.keys.placed(order, key, correlation_id, &head.headers));
        wanted.push(order.map(|order| placed.push(order)));
    }
    let answers = accept(api, wanted, placed, correlation_id).await;
    let items = answers.iter().map(|answer| item(api, answer, correlation_id)).collect();
    json_answer(StatusCode::MULTI_STATUS, &BatchResult { items })
}

/// Hands on what is sound, and puts the answers where their orders stood.
async fn accept<A: Accept, S: Show>(
    api: &Api<A, S>,
    wanted: Vec<Result<(), Problem>>,
    placed: Vec<Placed>,
    correlation_id: &CorrelationId,
) -> Vec<Result<Receipt, Problem>> {
    let mut answers = if placed.is_empty() { Vec::new() } else { api.intake.accept_all(placed).await }.into_iter();
    wanted
        .into_iter()
        .map(|order| {
            order?;
            let missing = || Problem::new(&INTERNAL, "the order has no answer");
            answers.next().ok_or_else(missing)?.map_err(|reason| refused(reason, correlation_id))
        })
        .collect()
}

fn item<A, S>(api: &Api<A, S>, answer: &Result<Receipt, Problem>, correlation_id: &CorrelationId) -> ItemResult {
    match answer {
        Ok(receipt) => ItemResult {
            status: StatusCode::ACCEPTED.as_u16(),
            order: Some(views::order::accepted(receipt, api.pending.clone())),
            replayed: receipt.replayed,
            problem: None,
        },
        Err(problem) => ItemResult {
            status: problem.kind.status.as_u16(),
            order: None,
            replayed: false,
            problem: Some(problem.body(correlation_id)),
        },
    }
}

/// One key for many orders is a misunderstanding that is better found now.
fn no_key(headers: &axum::http::HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Problem::header(IDEMPOTENCY_KEY, "is not for a batch: give each order an idempotency_key"));
    }
    Ok(())
}
