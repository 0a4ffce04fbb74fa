//! Upkeep: what is old and done is removed, in small batches.

use common::order::OrderId;
use jiff::Timestamp;
use uuid::Uuid;

use super::Desk;
use crate::{
    OrderFilter, StoreFault,
    fault::Fault,
    sql::{Array, Sql, Text, ids},
};

/// What one batch of the sweep over old orders did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptOrders {
    /// How many orders were removed.
    pub removed: u32,
    /// The next batch begins after this order; `None` if there are no older ones to look at.
    pub next: Option<OrderId>,
}

/// In Postgres, a key that is taken again at the moment is locked, and stays.
const KEYS: Text = Text {
    sqlite: "
    DELETE FROM idempotency_keys WHERE (scope, key) IN (
        SELECT scope, key FROM idempotency_keys WHERE created_at <= $1 ORDER BY created_at LIMIT $2)",
    postgres: "
    DELETE FROM idempotency_keys WHERE (scope, key) IN (
        SELECT scope, key FROM idempotency_keys WHERE created_at <= $1 ORDER BY created_at LIMIT $2
        FOR UPDATE SKIP LOCKED)",
};

/// The oldest orders, and whether each is removed: old enough, delivered everywhere, and in no redrive that
/// has not ended, which would wait forever for a dead letter that is gone.
const ORDERS: Text = Text {
    sqlite: "
    SELECT order_id, created_at < $2
        AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = it.order_id)
        AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.order_id = it.order_id AND d.status <> 'delivered')
        AND NOT EXISTS (SELECT 1 FROM dead_letters AS l
            WHERE l.order_id = it.order_id AND l.state IN ('dead', 'redriving'))
        AND NOT EXISTS (SELECT 1 FROM dead_letters AS l JOIN redrive_items AS i ON i.dead_letter = l.id
            WHERE l.order_id = it.order_id AND i.state IN ('queued', 'sending', 'sent'))
    FROM orders AS it WHERE order_id > $1 AND order_id < $3 ORDER BY order_id LIMIT $4",
    postgres: "
    SELECT order_id, created_at < $2
        AND (SELECT true FROM pending WHERE pending.order_id = it.order_id LIMIT 1) IS NULL
        AND (SELECT true FROM deliveries AS d
            WHERE d.order_id = it.order_id AND d.status <> 'delivered' LIMIT 1) IS NULL
        AND (SELECT true FROM dead_letters AS l
            WHERE l.order_id = it.order_id AND l.state IN ('dead', 'redriving') LIMIT 1) IS NULL
        AND (SELECT true FROM dead_letters AS l JOIN redrive_items AS i ON i.dead_letter = l.id
            WHERE l.order_id = it.order_id AND i.state IN ('queued', 'sending', 'sent') LIMIT 1) IS NULL
    FROM orders AS it WHERE order_id > $1 AND order_id < $3 ORDER BY order_id LIMIT $4",
};

/// What is removed with an order, and the order. Its idempotency key has expired: orders are kept at least as
/// long as keys.
const REMOVALS: [Text; 3] = [
    ids!("DELETE FROM dead_letters WHERE order_id", "$1", ""),
    ids!("DELETE FROM deliveries WHERE order_id", "$1", ""),
    ids!("DELETE FROM orders WHERE order_id", "$1", ""),
];

impl Desk {
    /// Removes idempotency keys that were first used at this time or before: at most `limit`. Returns how
    /// many were removed.
    pub async fn sweep_keys(&self, used_up_to: Timestamp, limit: u32) -> Result<u32, StoreFault> {
        let sweep = async move |sql: Sql<'_>| {
            let removed = sql.execute(KEYS, &[&used_up_to.as_microsecond(), &i64::from(limit)]).await?;
            Ok(u32::try_from(removed).unwrap_or(u32::MAX))
        };
        self.operators.write(sweep).await
    }

    /// Looks at orders that were accepted before this time, oldest first, beyond `after`, at most `limit`.
    /// Removes those that are delivered everywhere, with their deliveries and their dead letters that were
    /// sent again. An order that is pending or has a dead letter stays.
    pub async fn sweep_orders(
        &self,
        accepted_before: Timestamp,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<SweptOrders, StoreFault> {
        let sweep = async move |sql: Sql<'_>| sweep_orders(sql, accepted_before, after, limit).await;
        self.operators.write(sweep).await
    }
}

async fn sweep_orders(
    sql: Sql<'_>,
    accepted_before: Timestamp,
    after: Option<OrderId>,
    limit: u32,
) -> Result<SweptOrders, Fault> {
    let low = after.map_or(Uuid::nil(), |after| after.0);
    // Beyond this id every order is too young.
    let (_, high) = OrderFilter { to: Some(accepted_before), ..OrderFilter::default() }.ids(None);
    let (before, most) = (accepted_before.as_microsecond(), i64::from(limit));
    let seen = sql.all(ORDERS, &[&low, &before, &high, &most], |row| Ok((row.get(0)?, row.get(1)?))).await?;
    let old: Vec<Uuid> = seen.iter().filter(|(_, old)| *old).map(|(order_id, _)| *order_id).collect();
    let mut removed = 0;
    if !old.is_empty() {
        for removal in REMOVALS {
            // The last ones are the orders, without those that another producer removed in the meantime.
            removed = sql.execute(removal, &[&Array(&old)]).await?;
        }
    }
    let full = seen.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(SweptOrders {
        removed: u32::try_from(removed).unwrap_or(u32::MAX),
        next: seen.last().filter(|_| full).map(|(order_id, _)| OrderId(*order_id)),
    })
}
