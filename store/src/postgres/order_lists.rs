//! The page of a list in Postgres. What an order's status is shows in looks by key, which the planner can
//! neither join nor hash.

use std::{collections::HashMap, sync::LazyLock};

use common::{destination::Name, order::OrderId, status::OrderStatus};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::session::Session;
use crate::{
    OrderFilter, OrderPage, OrderRecord,
    columns::{parse_event, parse_names},
    desk::{Along, PAGE_BYTES},
    fault::Fault,
    unreadable::Unreadable,
};

/// The ids along the index, newest first.
fn ids(along: Along) -> &'static str {
    match along {
        Along::Orders => "SELECT order_id FROM orders WHERE order_id >= $1 AND order_id < $2",
        Along::Customer => "SELECT order_id FROM orders WHERE customer_id = $4 AND order_id >= $1 AND order_id < $2",
        Along::Pending => "SELECT order_id FROM pending WHERE order_id >= $1 AND order_id < $2",
        Along::Dead => {
            "SELECT DISTINCT order_id FROM deliveries
             WHERE status = 'dead_lettered' AND order_id >= $1 AND order_id < $2"
        }
    }
}

/// What the statements depend on: the index, the status, and whether there is a destination.
type Shape = (Along, Option<OrderStatus>, bool);

/// The statement of a page, and the one for the last order that was looked at.
struct Texts {
    page: String,
    end: String,
}

static TEXTS: LazyLock<HashMap<Shape, Texts>> = LazyLock::new(|| {
    let statuses = || OrderStatus::ALL.into_iter().map(Some).chain([None]);
    let shapes = Along::ALL.into_iter().flat_map(|along| {
        statuses().flat_map(move |status| [false, true].map(|destination| (along, status, destination)))
    });
    shapes.map(|shape| (shape, Texts::of(shape))).collect()
});

impl Texts {
    fn of((along, status, destination): Shape) -> Self {
        let ids = ids(along);
        let fits = fits(status, destination);
        let customer = match along {
            Along::Customer => "",
            _ => " AND ($4::text IS NULL OR o.customer_id = $4)",
        };
        let page = format!(
            "SELECT order_id, event, destinations, found FROM (
                SELECT order_id, event, destinations, count(*) OVER () AS found,
                    sum(octet_length(event)) OVER (ORDER BY order_id DESC ROWS UNBOUNDED PRECEDING)
                        - octet_length(event) AS before
                FROM (
                    SELECT o.order_id, o.event, array_to_string(o.destinations, ',') AS destinations
                    FROM ({ids} ORDER BY order_id DESC LIMIT $7) AS along
                    CROSS JOIN LATERAL (SELECT * FROM orders WHERE orders.order_id = along.order_id OFFSET 0) AS o
                    WHERE ($5::bigint IS NULL OR o.created_at >= $5) AND ($6::bigint IS NULL OR o.created_at < $6)
                        AND ($3::text IS NULL OR true){customer} AND {fits}
                    ORDER BY along.order_id DESC LIMIT $8
                ) AS page
            ) AS measured
            WHERE before < $9 ORDER BY order_id DESC"
        );
        let end = format!(
            "SELECT order_id FROM ({ids}) AS along WHERE $4::text IS NULL OR true
             ORDER BY order_id DESC LIMIT 1 OFFSET $3"
        );
        Self { page, end }
    }
}

/// The condition on the status.
fn fits(status: Option<OrderStatus>, destination: bool) -> String {
    const PENDING: &str = "(SELECT true FROM pending WHERE pending.order_id = o.order_id LIMIT 1)";
    let delivery = |condition: &str| {
        format!("(SELECT true FROM deliveries AS d WHERE d.order_id = o.order_id AND {condition} LIMIT 1) IS NOT NULL")
    };
    let (delivered, dead) = (delivery("d.status = 'delivered'"), delivery("d.status = 'dead_lettered'"));
    let dead_there = delivery("d.destination = $3 AND d.status = 'dead_lettered'");
    match (status, destination) {
        (None, false) => "true".to_owned(),
        (None, true) => format!("($3 = ANY(o.destinations) OR {})", delivery("d.destination = $3")),
        (Some(OrderStatus::Pending), false) => format!("{PENDING} IS NOT NULL"),
        (Some(OrderStatus::Pending), true) => {
            "(SELECT $3 = ANY(open) FROM pending WHERE pending.order_id = o.order_id) IS TRUE".to_owned()
        }
        (Some(OrderStatus::Delivered), false) => format!("{PENDING} IS NULL AND NOT ({dead})"),
        (Some(OrderStatus::Delivered), true) => delivery("d.destination = $3 AND d.status = 'delivered'"),
        (Some(OrderStatus::DeadLettered), false) => format!("{PENDING} IS NULL AND {dead} AND NOT ({delivered})"),
        (Some(OrderStatus::DeadLettered), true) => dead_there,
        (Some(OrderStatus::PartiallyDelivered), false) => format!("{PENDING} IS NULL AND {delivered} AND {dead}"),
        (Some(OrderStatus::PartiallyDelivered), true) => {
            format!("{PENDING} IS NULL AND {delivered} AND {dead_there}")
        }
    }
}

/// A page of the orders with ids from `low` to before `high`, without their deliveries.
pub(crate) async fn page(
    session: &Session,
    filter: &OrderFilter,
    along: Along,
    (low, high): (Uuid, Uuid),
    limit: u32,
    unreadable: &Unreadable,
) -> Result<OrderPage, Fault> {
    let Some(texts) = TEXTS.get(&(along, filter.status, filter.destination.is_some())) else {
        return Ok(OrderPage::default());
    };
    let (from, to) = (filter.from.map(Timestamp::as_microsecond), filter.to.map(Timestamp::as_microsecond));
    let (destination, customer_id) = (filter.destination.as_ref().map(Name::as_str), &filter.customer_id);
    let (looked_at, bytes) = (i64::from(along.looked_at()), PAGE_BYTES as i64);
    // One more than is wanted, to see whether there is one.
    let most = i64::from(limit) + 1;
    let rows = session
        .query(&texts.page, &[&low, &high, &destination, customer_id, &from, &to, &looked_at, &most, &bytes])
        .await?;
    let shown = rows.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
    let orders = rows[..shown].iter().filter_map(|row| unreadable.left_out(order(row))).collect();
    let mut page = OrderPage { orders, next: None };
    let found: i64 = rows.first().map(|row| row.try_get(3)).transpose()?.unwrap_or(0);
    page.next = if found > i64::try_from(shown).unwrap_or(i64::MAX) {
        rows[..shown].last().map(|last| last.try_get(0).map(OrderId)).transpose()?
    } else {
        let end = session.query_first(&texts.end, &[&low, &high, &(looked_at - 1), customer_id]).await?;
        end.map(|row| row.try_get(0).map(OrderId)).transpose()?
    };
    Ok(page)
}

fn order(row: &Row) -> Result<OrderRecord, Fault> {
    let (event, destinations) = (parse_event(row.try_get(1)?)?, parse_names(row.try_get(2)?)?);
    Ok(OrderRecord { event, destinations, recorded: Vec::new() })
}
