//! `GET /v1/orders`: orders that fit a filter, newest first, page by page.

use std::sync::Arc;

use api::{List, Order};
use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use common::order::{CorrelationId, MAX_ID_CHARS, OrderId};

use super::{
    Accept, Api, Show,
    call::{Call, json_answer, unanswered},
    openapi,
    page::{Page, until},
    problem::{BUSY, INTERNAL, INVALID_HEADER, INVALID_QUERY, Kind, Problem, STORE_UNAVAILABLE},
    query::Query,
};
use crate::views;
use common::status::OrderStatus;
use store::OrderFilter;

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &INVALID_QUERY, &BUSY, &STORE_UNAVAILABLE, &INTERNAL];

/// List orders
///
/// Orders that fit every parameter, newest first. Pages neither repeat nor skip an order while others
/// are placed. A page ends early where much was looked through: it may have fewer orders than `limit`,
/// or none, and still a `next_cursor`; the list ends where that is null.
#[utoipa::path(
    get,
    path = "/v1/orders",
    tag = "orders",
    params(
        ("status" = Option<OrderStatus>, Query, nullable = false,
         description = "The status of the order; with `destination` that of its delivery there. \
                        `partially_delivered` with `destination`: the order is that, and this delivery has failed."),
        ("destination" = Option<String>, Query, nullable = false,
         description = "Orders that are to be told to this destination."),
        ("customer_id" = Option<String>, Query, nullable = false, min_length = 1, max_length = 128,
         description = "Who placed them."),
        ("from" = Option<String>, Query, nullable = false, format = DateTime,
         description = "Accepted at this time or later (RFC 3339)."),
        ("to" = Option<String>, Query, nullable = false, format = DateTime,
         description = "Accepted before this time (RFC 3339)."),
        ("limit" = Option<u32>, Query, nullable = false, minimum = 1, maximum = 500,
         description = "Most orders of the page; 50 where it is absent."),
        ("cursor" = Option<String>, Query, nullable = false, max_length = 128,
         description = "The `next_cursor` of the page before."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "One page.", body = List<Order>, content_type = "application/json",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::listed_example),
    ),
)]
pub(super) async fn list_orders<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.list_orders);
    let answer = match sound {
        Ok(()) => answer(&api, &call.correlation_id, request.uri()).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn answer<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    uri: &Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(uri);
    let filter = filter(&mut query);
    let page = Page::of(&mut query);
    let after = page.after_id(&mut query).map(OrderId);
    query.finish()?;
    let found = api.desk.orders(filter, after, page.limit).await;
    let found = found.map_err(|fault| unanswered("orders", &fault, correlation_id))?;
    let items = found.orders.into_iter().map(views::order::order).collect();
    json_answer(StatusCode::OK, &until(items, found.next.map(|next| next.0.as_bytes().to_vec())))
}

fn filter(query: &mut Query<'_>) -> OrderFilter {
    let status = query.parsed("status", |text| {
        let known = OrderStatus::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| "must be pending, delivered, partially_delivered or dead_lettered".to_owned())
    });
    let destination =
        query.parsed("destination", |text| text.parse().map_err(|_| "must be the name of a destination".to_owned()));
    let customer_id = query.text("customer_id", MAX_ID_CHARS);
    let (from, to) = (query.time("from"), query.time("to"));
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        query.fault("to", "must not be before from".to_owned());
    }
    OrderFilter { status, destination, customer_id, from, to }
}
