//! Lists of orders and the feed of their deliveries.
//!
//! A page of a list is read along an index, newest first, until it is full: nothing is sorted, and nothing is
//! read twice. How that is asked depends on the planner, so that the statements are with their database.

use std::collections::HashMap;

use common::{
    order::OrderId,
    status::{DeliveryStatus, OrderStatus, fold},
};
use uuid::Uuid;

use super::Desk;
use crate::{
    Change, Changed, OrderFilter, OrderPage, OrderRecord, StoreFault,
    columns::signed,
    fault::Fault,
    postgres,
    sql::{Array, Row, Sql, Text},
    sqlite,
    unreadable::Unreadable,
};

/// A page ends after this many orders were looked at, whether they match or not.
pub(crate) const LOOKED_AT: u32 = 10_000;
/// The same if each of them lies elsewhere on the disk.
const LOOKED_AT_SCATTERED: u32 = 2_000;
/// A page ends after this many bytes of orders.
pub(crate) const PAGE_BYTES: usize = 4 * 1_024 * 1_024;
/// A customer with fewer orders than this has them looked through one by one, whatever else is asked.
const FEW_ORDERS: i64 = 1_000;

const FEW: Text = Text {
    sqlite: "
    SELECT count(*) < $4 FROM (
        SELECT 1 FROM orders INDEXED BY orders_by_customer
        WHERE customer_id = $1 AND order_id >= $2 AND order_id < $3 LIMIT $4) AS few",
    postgres: "
    SELECT count(*) < $4 FROM (
        SELECT FROM orders WHERE customer_id = $1 AND order_id >= $2 AND order_id < $3 LIMIT $4) AS few",
};

pub(crate) const OUTCOMES: Text = Text {
    sqlite: "
    SELECT d.order_id, d.outcome, d.status = 'pending'
    FROM json_each($1) AS wanted CROSS JOIN deliveries AS d ON d.order_id = unhex(wanted.value)",
    postgres: "SELECT order_id, outcome, status = 'pending' FROM deliveries WHERE order_id = ANY($1)",
};

/// In Postgres, whatever is recorded by transactions that begin from now on comes at or after it.
const LAST_CHANGE: Text = Text {
    sqlite: "SELECT 0, last_change FROM line",
    postgres: "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 0::bigint",
};

/// In Postgres, only as far as no running transaction can come before. What the order's status is folded from
/// shows in two looks at its other deliveries.
pub(crate) const CHANGES: Text = Text {
    sqlite: "
    SELECT 0, change, outcome, status = 'pending',
        NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = it.order_id)
            AND NOT EXISTS (SELECT 1 FROM deliveries AS other
                WHERE other.order_id = it.order_id AND other.change > it.change),
        EXISTS (SELECT 1 FROM deliveries AS other
            WHERE other.order_id = it.order_id AND other.status = 'delivered'),
        EXISTS (SELECT 1 FROM deliveries AS other
            WHERE other.order_id = it.order_id AND other.status = 'dead_lettered')
    FROM deliveries AS it WHERE change > $2 ORDER BY change LIMIT $3",
    postgres: "
    SELECT recorded::text::bigint, change, outcome, status = 'pending',
        NOT EXISTS (SELECT FROM pending WHERE pending.order_id = it.order_id)
            AND NOT EXISTS (SELECT FROM deliveries AS other WHERE other.order_id = it.order_id
                AND (other.recorded, other.change) > (it.recorded, it.change)),
        EXISTS (SELECT FROM deliveries AS other WHERE other.order_id = it.order_id AND other.status = 'delivered'),
        EXISTS (SELECT FROM deliveries AS other WHERE other.order_id = it.order_id AND other.status = 'dead_lettered')
    FROM (
        SELECT * FROM deliveries
        WHERE (recorded, change) > ($1::bigint::text::xid8, $2)
            AND recorded < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY recorded, change LIMIT $3
    ) AS it
    ORDER BY recorded, change",
};

impl Desk {
    /// Orders that match the filter, newest first, beyond `after`: at most `limit`. A page also ends after many
    /// orders were looked at, or many bytes gathered; so it may have fewer orders, or none, and still a next
    /// page.
    pub async fn orders(
        &self,
        filter: OrderFilter,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<OrderPage, StoreFault> {
        let unreadable = self.unreadable.clone();
        self.operators.read(async move |sql| page(sql, &filter, after, limit, &unreadable).await).await
    }

    /// The end of the feed: everything that is recorded from now on comes beyond it.
    pub async fn last_change(&self) -> Result<Change, StoreFault> {
        self.operators.read(async |sql| Ok(sql.first(LAST_CHANGE, &[], change).await?.unwrap_or_default())).await
    }

    /// Deliveries that changed beyond `after`, in the order of their changes: at most `limit`. A delivery that
    /// has changed several times comes once, with its last change.
    pub async fn changes(&self, after: Change, limit: u32) -> Result<Vec<Changed>, StoreFault> {
        let (commit, number, limit) = (signed(after.commit), signed(after.number), i64::from(limit));
        let unreadable = self.unreadable.clone();
        let read = async move |sql: Sql<'_>| {
            sql.all(CHANGES, &[&commit, &number, &limit], |row| changed(row, &unreadable)).await
        };
        self.operators.read(read).await
    }
}

fn change(row: &Row<'_>) -> Result<Change, Fault> {
    Ok(Change { commit: row.count(0)?, number: row.count(1)? })
}

fn changed(row: &Row<'_>, unreadable: &Unreadable) -> Result<Changed, Fault> {
    let (settled, delivered, dead): (bool, bool, bool) = (row.get(4)?, row.get(5)?, row.get(6)?);
    let statuses = [(delivered, DeliveryStatus::Delivered), (dead, DeliveryStatus::DeadLettered)];
    let status = fold(statuses.into_iter().filter_map(|(exists, status)| exists.then_some(status)));
    let delivery = unreadable.left_out(row.delivery(2));
    Ok(Changed { change: change(row)?, delivery, settled: settled.then_some(status) })
}

/// The index that a list is read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Along {
    Orders,
    Customer,
    Pending,
    Dead,
}

impl Along {
    pub(crate) const ALL: [Self; 4] = [Self::Orders, Self::Customer, Self::Pending, Self::Dead];

    pub(crate) async fn choose(sql: Sql<'_>, filter: &OrderFilter, low: Uuid, high: Uuid) -> Result<Self, Fault> {
        let by_status = match filter.status {
            Some(OrderStatus::Pending) => Some(Self::Pending),
            Some(OrderStatus::DeadLettered | OrderStatus::PartiallyDelivered) => Some(Self::Dead),
            Some(OrderStatus::Delivered) | None => None,
        };
        Ok(match (&filter.customer_id, by_status) {
            (None, by_status) => by_status.unwrap_or(Self::Orders),
            (Some(_), None) => Self::Customer,
            (Some(customer_id), Some(by_status)) => {
                let few = sql.first(FEW, &[customer_id, &low, &high, &FEW_ORDERS], |row| row.get(0)).await?;
                if few.unwrap_or(true) { Self::Customer } else { by_status }
            }
        })
    }

    /// A page ends after this many orders were looked at.
    pub(crate) fn looked_at(self) -> u32 {
        if self == Self::Customer { LOOKED_AT_SCATTERED } else { LOOKED_AT }
    }
}

/// At most four statements, however many orders the page has.
async fn page(
    sql: Sql<'_>,
    filter: &OrderFilter,
    after: Option<OrderId>,
    limit: u32,
    unreadable: &Unreadable,
) -> Result<OrderPage, Fault> {
    let (low, high) = filter.ids(after);
    let along = Along::choose(sql, filter, low, high).await?;
    let mut page = match sql {
        Sql::Sqlite(connection) => {
            sqlite::order_lists::page(connection, filter, along, (low, high), limit, along.looked_at(), unreadable)?
        }
        Sql::Postgres(session) => {
            postgres::order_lists::page(session, filter, along, (low, high), limit, unreadable).await?
        }
    };
    add_deliveries(sql, &mut page.orders, unreadable).await?;
    Ok(page)
}

/// Adds the deliveries of all these orders, by one statement.
async fn add_deliveries(sql: Sql<'_>, orders: &mut [OrderRecord], unreadable: &Unreadable) -> Result<(), Fault> {
    if orders.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = orders.iter().map(|order| order.event.order_id.0).collect();
    let indexes: HashMap<_, _> = ids.iter().copied().enumerate().map(|(index, id)| (id, index)).collect();
    let read = |row: &Row<'_>| Ok((row.get::<Uuid>(0)?, row.delivery(1)?));
    for (order_id, delivery) in sql.readable(OUTCOMES, &[&Array(&ids)], unreadable, read).await? {
        if let Some(order) = indexes.get(&order_id).and_then(|index| orders.get_mut(*index)) {
            order.recorded.push(delivery);
        }
    }
    Ok(())
}
