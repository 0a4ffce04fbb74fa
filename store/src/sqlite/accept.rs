//! Accepting orders: keys, orders and outbox.

use common::order::OrderId;
use rusqlite::{OptionalExtension as _, Transaction, params};
use uuid::Uuid;

use super::{line::Numbers, stored_order};
use crate::{Acceptance, Idempotency, Placed, Receipt, StoreFault, columns::unsigned};

/// Order, outbox and idempotency key, in the caller's transaction.
pub(super) fn accept(
    transaction: &Transaction<'_>,
    placed: &Placed,
    destinations: &str,
    numbers: &mut Numbers,
) -> Result<Acceptance, StoreFault> {
    if let Some(idempotency) = &placed.idempotency
        && let Some(earlier) = earlier(transaction, placed, idempotency)?
    {
        return Ok(earlier);
    }
    transaction
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
    transaction.prepare_cached("INSERT INTO pending (order_id, open, place) VALUES (?1, ?2, ?3)")?.execute(params![
        placed.order_id.0,
        destinations,
        position
    ])?;
    if let Some(Idempotency { scope, key, fingerprint, .. }) = &placed.idempotency {
        // The row of an expired key that was not swept yet is the new one's.
        transaction
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

/// What the same key was used for before, where it has not expired.
fn earlier(
    transaction: &Transaction<'_>,
    placed: &Placed,
    idempotency: &Idempotency,
) -> Result<Option<Acceptance>, StoreFault> {
    let known: Option<([u8; 32], Uuid)> = transaction
        .prepare_cached(
            "SELECT fingerprint, order_id FROM idempotency_keys WHERE scope = ?1 AND key = ?2 AND created_at > ?3",
        )?
        .query_row(params![idempotency.scope, idempotency.key, idempotency.expired_up_to.as_microsecond()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((fingerprint, order_id)) = known else { return Ok(None) };
    if !idempotency.matches(&fingerprint) {
        return Ok(Some(Acceptance::KeyReused));
    }
    let order_id = OrderId(order_id);
    let correlation_id = match stored_order(transaction, order_id)? {
        Some((event, _)) => event.correlation_id,
        // Removed as old before the clock was set back: who placed it first is not known any more.
        None => placed.correlation_id.clone(),
    };
    Ok(Some(Acceptance::Replayed(Receipt { order_id, correlation_id, replayed: true })))
}
