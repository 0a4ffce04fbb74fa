//! Lists of orders over an SQLite file. Each list is read along an index, newest first, row by row,
//! and the reading ends where the page is full: nothing is sorted, and nothing is read twice.

use std::collections::HashMap;

use common::{destination::Name, order::OrderId};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{SqliteDesk, names, parse_event, parse_outcome, signed, unsigned};
use crate::{
    Answer, Known, Recorded, StoreFault,
    order_lists::{Change, Changed, OrderFilter, OrderLists, OrderPage},
};
use common::status::{DeliveryStatus, OrderStatus, fold};

/// A page ends after so many orders were looked at, whether they fit or not.
const LOOKED_AT: usize = 10_000;
/// The same where each of them lies elsewhere on the disk.
const LOOKED_AT_SCATTERED: usize = 2_000;
/// A page ends after so many bytes of orders.
const PAGE_BYTES: usize = 4 * 1_024 * 1_024;
/// With fewer orders than this, a customer's are looked through one by one, whatever else is asked.
const FEW_ORDERS: u32 = 1_000;

impl OrderLists for SqliteDesk {
    fn orders(&self, filter: OrderFilter, after: Option<OrderId>, limit: u32) -> Answer<'_, OrderPage> {
        self.ask(move |connection| page(connection, &filter, after, limit, LOOKED_AT))
    }

    fn last_change(&self) -> Answer<'_, Change> {
        self.ask(|connection| {
            let last = connection.prepare_cached("SELECT last_change FROM line")?.query_row([], |row| row.get(0))?;
            Ok(Change { commit: 0, number: unsigned(last) })
        })
    }

    fn changes(&self, after: Change, limit: u32) -> Answer<'_, Vec<Changed>> {
        self.ask(move |connection| {
            let mut statement = connection.prepare_cached(CHANGES)?;
            let rows = statement.query_map(params![signed(after.number), limit], changed)?;
            rows.map(|row| row?).collect()
        })
    }
}

/// What an order's status was folded from shows in two looks at its other deliveries.
const CHANGES: &str = "
    SELECT change, outcome, status = 'pending',
           NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = it.order_id)
           AND NOT EXISTS (SELECT 1 FROM deliveries AS other
                           WHERE other.order_id = it.order_id AND other.change > it.change),
           EXISTS (SELECT 1 FROM deliveries AS other
                   WHERE other.order_id = it.order_id AND other.status = 'delivered'),
           EXISTS (SELECT 1 FROM deliveries AS other
                   WHERE other.order_id = it.order_id AND other.status = 'dead_lettered')
    FROM deliveries AS it WHERE change > ?1 ORDER BY change LIMIT ?2";

fn changed(row: &Row<'_>) -> rusqlite::Result<Result<Changed, StoreFault>> {
    let (change, json, redriving): (i64, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (settled, delivered, dead): (bool, bool, bool) = (row.get(3)?, row.get(4)?, row.get(5)?);
    let statuses = [(delivered, DeliveryStatus::Delivered), (dead, DeliveryStatus::DeadLettered)];
    let status = fold(statuses.into_iter().filter_map(|(there, status)| there.then_some(status)));
    Ok(parse_outcome(&json).map(|outcome| Changed {
        change: Change { commit: 0, number: unsigned(change) },
        recorded: Recorded { outcome, redriving },
        settled: settled.then_some(status),
    }))
}

/// The index that a list is read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Along {
    Orders,
    Customer,
    Pending,
    Dead,
}

impl Along {
    fn choose(connection: &Connection, filter: &OrderFilter, low: Uuid, high: Uuid) -> Result<Self, StoreFault> {
        let by_status = match filter.status {
            Some(OrderStatus::Pending) => Some(Self::Pending),
            Some(OrderStatus::DeadLettered | OrderStatus::PartiallyDelivered) => Some(Self::Dead),
            Some(OrderStatus::Delivered) | None => None,
        };
        Ok(match (&filter.customer_id, by_status) {
            (None, by_status) => by_status.unwrap_or(Self::Orders),
            (Some(_), None) => Self::Customer,
            (Some(customer_id), Some(by_status)) => {
                let few: bool = connection
                    .prepare_cached(
                        "SELECT count(*) < ?4 FROM (SELECT 1 FROM orders INDEXED BY orders_by_customer
                         WHERE customer_id = ?1 AND order_id >= ?2 AND order_id < ?3 LIMIT ?4)",
                    )?
                    .query_row(params![customer_id, low, high, FEW_ORDERS], |row| row.get(0))?;
                if few { Self::Customer } else { by_status }
            }
        })
    }

    fn looked_at(self) -> usize {
        if self == Self::Customer { LOOKED_AT_SCATTERED } else { LOOKED_AT }
    }

    /// The tables, and the name of the row that the list is read along.
    fn tables(self) -> (&'static str, &'static str) {
        match self {
            Self::Orders => ("orders AS o WHERE ", "o"),
            Self::Customer => ("orders AS o INDEXED BY orders_by_customer WHERE o.customer_id = ?4 AND ", "o"),
            Self::Pending => ("pending AS p CROSS JOIN orders AS o ON o.order_id = p.order_id WHERE ", "p"),
            Self::Dead => (
                "deliveries AS x INDEXED BY deliveries_dead CROSS JOIN orders AS o ON o.order_id = x.order_id
                 WHERE x.status = 'dead_lettered' AND ",
                "x",
            ),
        }
    }
}

/// Whether an order has the status that is asked for.
fn status_fits(filter: &OrderFilter) -> &'static str {
    const PENDING: &str = "EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id)";
    match (filter.status, filter.destination.is_some()) {
        (None, false) => "1",
        (None, true) => {
            "(instr(',' || o.destinations || ',', ',' || ?3 || ',') > 0
              OR EXISTS (SELECT 1 FROM deliveries AS d WHERE d.order_id = o.order_id AND d.destination = ?3))"
        }
        (Some(OrderStatus::Pending), false) => PENDING,
        (Some(OrderStatus::Pending), true) => {
            "EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id
                     AND instr(',' || pending.open || ',', ',' || ?3 || ',') > 0)"
        }
        (Some(OrderStatus::Delivered), false) => {
            "(NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id)
              AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                              WHERE d.order_id = o.order_id AND d.status = 'dead_lettered'))"
        }
        (Some(OrderStatus::Delivered), true) => {
            "EXISTS (SELECT 1 FROM deliveries AS d
                     WHERE d.order_id = o.order_id AND d.destination = ?3 AND d.status = 'delivered')"
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
                     WHERE d.order_id = o.order_id AND d.destination = ?3 AND d.status = 'dead_lettered')"
        }
        (Some(OrderStatus::PartiallyDelivered), with_destination) => {
            if with_destination {
                "(NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id)
                  AND EXISTS (SELECT 1 FROM deliveries AS d WHERE d.order_id = o.order_id AND d.status = 'delivered')
                  AND EXISTS (SELECT 1 FROM deliveries AS d
                              WHERE d.order_id = o.order_id AND d.destination = ?3 AND d.status = 'dead_lettered'))"
            } else {
                "(NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = o.order_id)
                  AND EXISTS (SELECT 1 FROM deliveries AS d WHERE d.order_id = o.order_id AND d.status = 'delivered')
                  AND EXISTS (SELECT 1 FROM deliveries AS d
                              WHERE d.order_id = o.order_id AND d.status = 'dead_lettered'))"
            }
        }
    }
}

/// The statement of a list. The event is read only of orders that fit.
fn statement(filter: &OrderFilter, along: Along) -> String {
    let (tables, row) = along.tables();
    let status_fits = status_fits(filter);
    format!(
        "SELECT {row}.order_id, CASE WHEN
           (?4 IS NULL OR o.customer_id = ?4)
           AND (?5 IS NULL OR o.created_at >= ?5) AND (?6 IS NULL OR o.created_at < ?6)
           AND {status_fits}
         THEN o.event END, o.destinations
         FROM {tables} {row}.order_id >= ?1 AND {row}.order_id < ?2
         ORDER BY {row}.order_id DESC"
    )
}

/// One page, with at most three statements, however many orders it has.
fn page(
    connection: &mut Connection,
    filter: &OrderFilter,
    after: Option<OrderId>,
    limit: u32,
    looked_at: usize,
) -> Result<OrderPage, StoreFault> {
    // One read transaction, so that orders and outcomes are of one moment.
    let transaction = connection.transaction()?;
    let (low, high) = filter.ids(after);
    let along = Along::choose(&transaction, filter, low, high)?;
    let looked_at = looked_at.min(along.looked_at());
    let mut statement = transaction.prepare_cached(&statement(filter, along))?;
    let micros = |time: Option<jiff::Timestamp>| time.map(|time| time.as_microsecond());
    let mut rows = statement.query(params![
        low,
        high,
        filter.destination.as_ref().map(Name::as_str),
        filter.customer_id,
        micros(filter.from),
        micros(filter.to)
    ])?;
    let mut page = OrderPage::default();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut last, mut seen, mut bytes) = (None, 0, 0);
    while let Some(row) = rows.next()? {
        let order_id = OrderId(row.get(0)?);
        if page.orders.len() >= limit || seen >= looked_at || bytes >= PAGE_BYTES {
            page.next = last;
            break;
        }
        // Along the dead letters an order comes once for each of them.
        if last == Some(order_id) {
            continue;
        }
        (last, seen) = (Some(order_id), seen + 1);
        if let Some(event) = row.get::<_, Option<Vec<u8>>>(1)? {
            bytes += event.len();
            let destinations = names(&row.get::<_, String>(2)?)?;
            page.orders.push(Known { event: parse_event(&event)?, destinations, outcomes: Vec::new() });
        }
    }
    drop(rows);
    add_outcomes(&transaction, &mut page.orders)?;
    Ok(page)
}

/// The outcomes of all these orders, by one statement.
fn add_outcomes(connection: &Connection, orders: &mut [Known]) -> Result<(), StoreFault> {
    if orders.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = orders.iter().map(|known| known.event.order_id.0.simple().to_string()).collect();
    let places: HashMap<_, _> =
        orders.iter().enumerate().map(|(place, known)| (known.event.order_id.0, place)).collect();
    let ids = serde_json::to_string(&ids).map_err(|fault| StoreFault::Database(fault.to_string()))?;
    let mut statement = connection.prepare_cached(OUTCOMES)?;
    let mut rows = statement.query(params![ids])?;
    while let Some(row) = rows.next()? {
        if let Some(known) = places.get(&row.get::<_, Uuid>(0)?).and_then(|place| orders.get_mut(*place)) {
            let outcome = parse_outcome(&row.get::<_, String>(1)?)?;
            known.outcomes.push(Recorded { outcome, redriving: row.get(2)? });
        }
    }
    Ok(())
}

const OUTCOMES: &str = "SELECT d.order_id, d.outcome, d.status = 'pending'
     FROM json_each(?1) AS wanted CROSS JOIN deliveries AS d ON d.order_id = unhex(wanted.value)";

#[cfg(test)]
mod tests;
