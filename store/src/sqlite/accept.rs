//! Accepting orders: keys, orders and outbox.

use common::order::OrderId;
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::numbers::Numbers;
use crate::{
    Acceptance, Idempotency, Placed, StoreFault,
    columns::unsigned,
    rules::{Used, repeated},
};

/// Order, outbox and idempotency key, in the caller's connection.
pub(super) fn accept(
    connection: &Connection,
    placed: &Placed,
    destinations: &str,
    numbers: &mut Numbers,
) -> Result<Acceptance, StoreFault> {
    if let Some(idempotency) = &placed.idempotency
        && let Some(earlier) = earlier(connection, placed, idempotency)?
    {
        return Ok(earlier);
    }
    connection
        .prepare_cached(
            "INSERT INTO orders (order_id, customer_id, created_at, event, traceparent, destinations)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            placed.order_id.0,
            placed.customer_id.as_str(),
            placed.accepted_at.as_microsecond(),
            placed.body.as_ref(),
            placed.trace.to_string(),
            destinations
        ])?;
    let position = numbers.next_position();
    connection.prepare_cached("INSERT INTO pending (order_id, open, place) VALUES (?1, ?2, ?3)")?.execute(params![
        placed.order_id.0,
        destinations,
        position
    ])?;
    if let Some(Idempotency { scope, key, fingerprint, .. }) = &placed.idempotency {
        // The row of an expired key that was not swept yet is the new one's.
        connection
            .prepare_cached(
                "INSERT INTO idempotency_keys (scope, key, fingerprint, order_id, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (scope, key) DO UPDATE SET fingerprint = excluded.fingerprint,
                 order_id = excluded.order_id, created_at = excluded.created_at",
            )?
            .execute(params![scope, key, fingerprint, placed.order_id.0, placed.accepted_at.as_microsecond()])?;
    }
    Ok(Acceptance::New(unsigned(position)))
}

/// The answer to a key that was used before, and has not expired.
fn earlier(
    connection: &Connection,
    placed: &Placed,
    idempotency: &Idempotency,
) -> Result<Option<Acceptance>, StoreFault> {
    let used: Option<(Vec<u8>, Uuid, Option<Vec<u8>>)> = connection
        .prepare_cached(
            "SELECT fingerprint, order_id, event FROM idempotency_keys LEFT JOIN orders USING (order_id)
             WHERE scope = ?1 AND key = ?2 AND idempotency_keys.created_at > ?3",
        )?
        .query_row(params![idempotency.scope, idempotency.key, idempotency.expired_up_to.as_microsecond()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((fingerprint, order_id, event)) = used else { return Ok(None) };
    let used = Used::new(fingerprint, OrderId(order_id), event.as_deref(), placed)?;
    Ok(Some(repeated(idempotency, &used)))
}
