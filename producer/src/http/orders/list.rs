//! `GET /v1/orders`: orders that match a filter, newest first, page by page.

use std::sync::Arc;

use api::{List, Order, OrderStatus};
use axum::{extract::State, http::StatusCode, response::Response};
use common::order::{MAX_ID_CHARS, OrderId};
use store::OrderFilter;

use super::examples;
use crate::{
    http::{
        Api,
        edge::{
            page::{self, Page},
            problem::{INVALID_QUERY, Problem, STORE, problems},
            query::Query,
            response::json,
        },
    },
    views,
};

problems!(Refusals: STORE, [&INVALID_QUERY]);

/// List orders
///
/// Orders that match every parameter, newest first. Pages neither repeat nor skip an order while others
/// are placed. A page may have fewer orders than `limit`, or none, and still a `next_cursor`, because the
/// server searches only so far for one page; the list ends when `next_cursor` is null.
#[utoipa::path(
    get,
    path = "/v1/orders",
    tag = "orders",
    params(
        ("status" = Option<OrderStatus>, Query, nullable = false,
         description = "The status of the order; with `destination`, of its delivery there. \
                        `partially_delivered` with `destination`: the order is partially delivered, and this delivery \
                        has failed."),
        ("destination" = Option<String>, Query, nullable = false,
         description = "Orders with a delivery to this destination."),
        ("customer_id" = Option<String>, Query, nullable = false, min_length = 1, max_length = 128,
         description = "The customer who placed them."),
        ("from" = Option<String>, Query, nullable = false, format = DateTime,
         description = "Accepted at this time or later (RFC 3339)."),
        ("to" = Option<String>, Query, nullable = false, format = DateTime,
         description = "Accepted before this time (RFC 3339)."),
        Page,
    ),
    responses(
        (status = 200, description = "One page.", body = List<Order>, content_type = "application/json",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::listed),
        Refusals,
    ),
)]
pub(super) async fn list_orders(State(api): State<Arc<Api>>, mut query: Query) -> Result<Response, Problem> {
    let (filter, page) = (filter(&mut query), Page::take(&mut query));
    query.finish()?;
    let found = api.desk.orders(filter, page.after.map(OrderId), page.limit).await?;
    let orders = found.orders.into_iter().map(views::order::order).collect();
    json(StatusCode::OK, &page::until(orders, found.next.map(|next| next.0)))
}

fn filter(query: &mut Query) -> OrderFilter {
    let status = query.parsed("status", |text| {
        let known = OrderStatus::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| "must be pending, delivered, partially_delivered or dead_lettered".to_owned())
    });
    let destination =
        query.parsed("destination", |text| text.parse().map_err(|_| "must be the name of a destination".to_owned()));
    let customer_id = query.text("customer_id", MAX_ID_CHARS);
    let (from, to) = (query.time("from"), query.time("to"));
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        query.fault("to", "must not be before from".to_owned());
    }
    OrderFilter { status, destination, customer_id, from, to }
}
