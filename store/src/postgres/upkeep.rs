//! Upkeep of a Postgres database. Several producers may sweep at once.

use common::order::OrderId;
use jiff::Timestamp;
use uuid::Uuid;

use super::PostgresDesk;
use crate::{
    Answer, OrderFilter,
    upkeep::{SweptOrders, Upkeep},
};

/// A key that is taken anew at the moment is locked, and stays.
const KEYS: &str = "
    DELETE FROM idempotency_keys WHERE (scope, key) IN (
        SELECT scope, key FROM idempotency_keys WHERE created_at <= $1
        ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )";

/// The oldest orders, and whether each goes: old enough, delivered everywhere, and in no redrive that has
/// not ended: it would wait for ever for a dead letter that is gone. What goes with an order goes in the same statement; its idempotency key has expired, for retention is never shorter
/// than its life.
const ORDERS: &str = "
    WITH seen AS MATERIALIZED (
        SELECT order_id, created_at < $2
            AND (SELECT true FROM pending WHERE pending.order_id = it.order_id LIMIT 1) IS NULL
            AND (SELECT true FROM deliveries AS d
                WHERE d.order_id = it.order_id AND d.status <> 'delivered' LIMIT 1) IS NULL
            AND (SELECT true FROM dead_letters AS l
                WHERE l.order_id = it.order_id AND l.state IN ('dead', 'redriving') LIMIT 1) IS NULL
            AND (SELECT true FROM dead_letters AS l JOIN redrive_items AS i ON i.dead_letter = l.id
                WHERE l.order_id = it.order_id AND i.state IN ('queued', 'sending', 'sent') LIMIT 1) IS NULL AS goes
        FROM orders AS it WHERE order_id > $1 AND order_id < $3 ORDER BY order_id LIMIT $4
    ), letters AS (
        DELETE FROM dead_letters WHERE order_id = ANY(ARRAY(SELECT order_id FROM seen WHERE goes))
    ), ends AS (
        DELETE FROM deliveries WHERE order_id = ANY(ARRAY(SELECT order_id FROM seen WHERE goes))
    ), gone AS (
        DELETE FROM orders WHERE order_id = ANY(ARRAY(SELECT order_id FROM seen WHERE goes)) RETURNING order_id
    )
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM seen),
        (SELECT order_id FROM seen ORDER BY order_id DESC LIMIT 1)";

impl Upkeep for PostgresDesk {
    fn sweep_keys(&self, used_up_to: Timestamp, limit: u32) -> Answer<'_, u32> {
        self.transaction(move |session| {
            Box::pin(async move {
                let removed = session.execute(KEYS, &[&used_up_to.as_microsecond(), &i64::from(limit)]).await?;
                Ok(u32::try_from(removed).unwrap_or(u32::MAX))
            })
        })
    }

    fn sweep_orders(&self, accepted_before: Timestamp, after: Option<OrderId>, limit: u32) -> Answer<'_, SweptOrders> {
        let low = after.map_or(Uuid::nil(), |after| after.0);
        let high = OrderFilter { to: Some(accepted_before), ..OrderFilter::default() }.ids(None).1;
        self.transaction(move |session| {
            Box::pin(async move {
                let (before, limit) = (accepted_before.as_microsecond(), i64::from(limit));
                let Some(row) = session.query_first(ORDERS, &[&low, &before, &high, &limit]).await? else {
                    return Ok(SweptOrders::default());
                };
                let (removed, seen): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
                let last: Option<Uuid> = row.try_get(2)?;
                Ok(SweptOrders {
                    removed: u32::try_from(removed).unwrap_or(u32::MAX),
                    next: last.filter(|_| seen >= limit).map(OrderId),
                })
            })
        })
    }
}
