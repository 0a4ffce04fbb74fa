//! `POST /v1/orders:batch`: many orders in one request and one transaction, each with its own result.

use std::sync::Arc;

use api::{BatchResult, ItemResult};
use axum::{
    extract::{Extension, Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use common::order::CorrelationId;
use store::{Placed, Receipt};

use super::{
    examples,
    new_batch::{BatchShape, KeyedOrder},
    pending, placed,
};
use crate::{
    http::{
        Api,
        edge::{
            body::{self, Json},
            correlation::Correlated,
            headers::{self, IDEMPOTENCY_KEY, Trace},
            problem::{BODY, BUSY, INTERNAL, INVALID_BATCH, Problem, problems},
            response::json,
        },
    },
    intake::Caller,
    views,
};

problems!(Refusals: BODY, [&INVALID_BATCH, &BUSY]);

/// Place many orders
///
/// Up to 500 orders in one request, stored in one transaction. Each has its own result, in the same order;
/// one that is refused affects no other. An order may have its own `idempotency_key`, which means the same
/// as the header of that name does for a single order. A body has at most 4194304 bytes (4 MiB) and must
/// arrive within 10 seconds.
#[utoipa::path(
    post,
    path = "/v1/orders:batch",
    tag = "orders",
    params(Trace),
    request_body(content = api::NewBatch, content_type = "application/json", example = examples::new_batch),
    responses(
        (status = 207, description = "A result for each order, in the same order.",
         body = BatchResult, content_type = "application/json", example = examples::batch),
        Refusals,
    ),
)]
pub(super) async fn place_batch(
    State(api): State<Arc<Api>>,
    Extension(correlation_id): Correlated,
    Trace(trace): Trace,
    request: Request,
) -> Result<Response, Problem> {
    headers::json_body(request.headers())?;
    no_key(request.headers())?;
    // The permit is kept until the response is made: it bounds the orders in memory as well as the bytes.
    let (body, _permit) = api.limits.batches.read(request).await?;
    let Json(batch) = body::parse::<BatchShape>(&body)?;
    drop(body);

    let (mut results, mut valid) = (Vec::with_capacity(batch.len()), Vec::new());
    for order in batch {
        let order = order.map_err(Problem::invalid_order).and_then(|KeyedOrder { key, order }| {
            placed(&api, order, Caller { correlation_id: correlation_id.clone(), trace, key })
        });
        results.push(order.map(|order| valid.push(order)));
    }
    let results = accept(&api, results, valid).await;
    let items = results.iter().map(|result| item(&api, result, &correlation_id)).collect();
    json(StatusCode::MULTI_STATUS, &BatchResult { items })
}

/// Hands the valid orders to intake, and puts what comes of each in its place.
async fn accept(api: &Api, results: Vec<Result<(), Problem>>, valid: Vec<Placed>) -> Vec<Result<Receipt, Problem>> {
    let mut accepted = if valid.is_empty() { Vec::new() } else { api.intake.accept_all(valid).await }.into_iter();
    let missing = || Problem::new(&INTERNAL, "the order has no result");
    let mut next = || Ok(accepted.next().ok_or_else(missing)??);
    results.into_iter().map(|order| order.and_then(|()| next())).collect()
}

fn item(api: &Api, result: &Result<Receipt, Problem>, correlation_id: &CorrelationId) -> ItemResult {
    match result {
        Ok(receipt) => ItemResult {
            status: StatusCode::ACCEPTED.as_u16(),
            order: Some(views::order::accepted(receipt, pending(&api.destinations))),
            replayed: receipt.replayed,
            problem: None,
        },
        Err(problem) => {
            problem.log(correlation_id);
            ItemResult {
                status: problem.kind.status.as_u16(),
                order: None,
                replayed: false,
                problem: Some(problem.body(correlation_id)),
            }
        }
    }
}

/// One key for many orders is a misunderstanding that is better found now.
fn no_key(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Problem::header(IDEMPOTENCY_KEY, "is not for a batch: give each order an idempotency_key"));
    }
    Ok(())
}
