//! The page of a list in SQLite: read row by row, until it is full.

use std::ops::ControlFlow;

use common::{destination::Name, order::OrderId, status::OrderStatus};
use jiff::Timestamp;
use uuid::Uuid;

use super::Connection;
use crate::{
    OrderFilter, OrderPage, OrderRecord,
    columns::{parse_event, parse_names},
    desk::{Along, PAGE_BYTES},
    fault::Fault,
    sql::Row,
    unreadable::Unreadable,
};

/// The tables, and the name of the row that the list is read along.
fn tables(along: Along) -> (&'static str, &'static str) {
    match along {
        Along::Orders => ("orders AS o WHERE ", "o"),
        Along::Customer => ("orders AS o INDEXED BY orders_by_customer WHERE o.customer_id = $4 AND ", "o"),
        Along::Pending => ("pending AS p CROSS JOIN orders AS o ON o.order_id = p.order_id WHERE ", "p"),
        Along::Dead => (
            "deliveries AS x INDEXED BY deliveries_dead CROSS JOIN orders AS o ON o.order_id = x.order_id
             WHERE x.status = 'dead_lettered' AND ",
            "x",
        ),
    }
}

/// The condition on the status.
fn status_fits(filter: &OrderFilter) -> &'static str {
    const PENDING: &str = "EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id)";
    match (filter.status, filter.destination.is_some()) {
        (None, false) => "1",
        (None, true) => {
            "(instr(',' || o.destinations || ',', ',' || $3 || ',') > 0
              OR EXISTS (SELECT 1 FROM deliveries AS d WHERE d.order_id = o.order_id AND d.destination = $3))"
        }
        (Some(OrderStatus::Pending), false) => PENDING,
        (Some(OrderStatus::Pending), true) => {
            "EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id
                     AND instr(',' || pending.open || ',', ',' || $3 || ',') > 0)"
        }
        (Some(OrderStatus::Delivered), false) => {
            "(NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id)
              AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                              WHERE d.order_id = o.order_id AND d.status = 'dead_lettered'))"
        }
        (Some(OrderStatus::Delivered), true) => {
            "EXISTS (SELECT 1 FROM deliveries AS d
                     WHERE d.order_id = o.order_id AND d.destination = $3 AND d.status = 'delivered')"
        }
        (Some(OrderStatus::DeadLettered), false) => {
            "(NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id)
              AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                              WHERE d.order_id = o.order_id AND d.status = 'delivered')
              AND EXISTS (SELECT 1 FROM deliveries AS d
                          WHERE d.order_id = o.order_id AND d.status = 'dead_lettered'))"
        }
        (Some(OrderStatus::DeadLettered), true) => {
            "EXISTS (SELECT 1 FROM deliveries AS d
                     WHERE d.order_id = o.order_id AND d.destination = $3 AND d.status = 'dead_lettered')"
        }
        (Some(OrderStatus::PartiallyDelivered), with_destination) => {
            if with_destination {
                "(NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id)
                  AND EXISTS (SELECT 1 FROM deliveries AS d WHERE d.order_id = o.order_id AND d.status = 'delivered')
                  AND EXISTS (SELECT 1 FROM deliveries AS d
                              WHERE d.order_id = o.order_id AND d.destination = $3 AND d.status = 'dead_lettered'))"
            } else {
                "(NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id)
                  AND EXISTS (SELECT 1 FROM deliveries AS d WHERE d.order_id = o.order_id AND d.status = 'delivered')
                  AND EXISTS (SELECT 1 FROM deliveries AS d
                              WHERE d.order_id = o.order_id AND d.status = 'dead_lettered'))"
            }
        }
    }
}

/// The statement of a list. The event is read only of orders that match.
fn statement(filter: &OrderFilter, along: Along) -> String {
    let (tables, row) = tables(along);
    let status_fits = status_fits(filter);
    format!(
        "SELECT {row}.order_id, CASE WHEN
           ($4 IS NULL OR o.customer_id = $4)
           AND ($5 IS NULL OR o.created_at >= $5) AND ($6 IS NULL OR o.created_at < $6)
           AND {status_fits}
         THEN o.event END, o.destinations
         FROM {tables} {row}.order_id >= $1 AND {row}.order_id < $2
         ORDER BY {row}.order_id DESC"
    )
}

/// A page of the orders with ids from `low` to before `high`, without their deliveries.
pub(crate) fn page(
    connection: &Connection,
    filter: &OrderFilter,
    along: Along,
    (low, high): (Uuid, Uuid),
    limit: u32,
    looked_at: u32,
    unreadable: &Unreadable,
) -> Result<OrderPage, Fault> {
    let (from, to) = (filter.from.map(Timestamp::as_microsecond), filter.to.map(Timestamp::as_microsecond));
    let destination = filter.destination.as_ref().map(Name::as_str);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut page = OrderPage::default();
    let (mut last, mut seen, mut bytes) = (None, 0, 0);
    connection.each(
        &statement(filter, along),
        &[&low, &high, &destination, &filter.customer_id, &from, &to],
        |row| {
            let order_id = OrderId(row.get(0)?);
            if page.orders.len() >= limit || seen >= looked_at || bytes >= PAGE_BYTES {
                page.next = last;
                return Ok(ControlFlow::Break(()));
            }
            // Along the dead letters an order comes once for each of them.
            if last == Some(order_id) {
                return Ok(ControlFlow::Continue(()));
            }
            (last, seen) = (Some(order_id), seen + 1);
            if let Some(event) = row.get::<Option<Vec<u8>>>(1)? {
                bytes += event.len();
                page.orders.extend(unreadable.left_out(order(&event, row)));
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(page)
}

fn order(event: &[u8], row: &Row<'_>) -> Result<OrderRecord, Fault> {
    let destinations = parse_names(&row.get::<String>(2)?)?;
    Ok(OrderRecord { event: parse_event(event)?, destinations, recorded: Vec::new() })
}

#[cfg(test)]
mod tests;
