//! Upkeep of an SQLite file.

use common::order::OrderId;
use jiff::Timestamp;
use rusqlite::{TransactionBehavior, params};
use uuid::Uuid;

use super::SqliteDesk;
use crate::{
    Answer, OrderFilter,
    upkeep::{SweptOrders, Upkeep},
};

impl Upkeep for SqliteDesk {
    fn sweep_keys(&self, used_up_to: Timestamp, limit: u32) -> Answer<'_, u32> {
        self.ask(move |connection| {
            let removed = connection.prepare_cached(KEYS)?.execute(params![used_up_to.as_microsecond(), limit])?;
            Ok(u32::try_from(removed).unwrap_or(u32::MAX))
        })
    }

    fn sweep_orders(&self, accepted_before: Timestamp, after: Option<OrderId>, limit: u32) -> Answer<'_, SweptOrders> {
        self.ask(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let candidates = transaction
                .prepare_cached(ORDERS)?
                .query_map(
                    params![
                        after.map_or(Uuid::nil(), |after| after.0),
                        accepted_before.as_microsecond(),
                        ids_before(accepted_before),
                        limit
                    ],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )?
                .collect::<rusqlite::Result<Vec<(Uuid, bool)>>>()?;
            let mut swept = SweptOrders::default();
            for (order_id, _) in candidates.iter().filter(|(_, delivered)| *delivered) {
                for remove in REMOVALS {
                    transaction.prepare_cached(remove)?.execute(params![order_id])?;
                }
                swept.removed += 1;
            }
            transaction.commit()?;
            let full = candidates.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
            swept.next = candidates.last().filter(|_| full).map(|(order_id, _)| OrderId(*order_id));
            Ok(swept)
        })
    }
}

/// Beyond this id every order is too young.
fn ids_before(accepted_before: Timestamp) -> Uuid {
    OrderFilter { to: Some(accepted_before), ..OrderFilter::default() }.ids(None).1
}

const KEYS: &str = "DELETE FROM idempotency_keys WHERE (scope, key) IN
     (SELECT scope, key FROM idempotency_keys WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2)";

/// The oldest orders, and whether each goes: old enough, delivered everywhere, and in no redrive that has
/// not ended: it would wait for ever for a dead letter that is gone.
const ORDERS: &str = "
    SELECT order_id, created_at < ?2
           AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.order_id = it.order_id)
           AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.order_id = it.order_id AND d.status <> 'delivered')
           AND NOT EXISTS (SELECT 1 FROM dead_letters AS l
                           WHERE l.order_id = it.order_id AND l.state IN ('dead', 'redriving'))
           AND NOT EXISTS (SELECT 1 FROM dead_letters AS l JOIN redrive_items AS i ON i.dead_letter = l.id
                           WHERE l.order_id = it.order_id AND i.state IN ('queued', 'sending', 'sent'))
    FROM orders AS it WHERE order_id > ?1 AND order_id < ?3 ORDER BY order_id LIMIT ?4";

/// What goes with an order. Its idempotency key has expired: retention is never shorter than its life.
const REMOVALS: [&str; 3] = [
    "DELETE FROM dead_letters WHERE order_id = ?1",
    "DELETE FROM deliveries WHERE order_id = ?1",
    "DELETE FROM orders WHERE order_id = ?1",
];
