//! Deliveries that wait in the store.

use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::{StoreFault, rules::Wait};

/// A delivery waits from now on. Of two messages of one delivery that both wait, the one with more attempts
/// counts.
pub(super) fn begin(connection: &Connection, wait: &Wait<'_>) -> Result<(), StoreFault> {
    let Wait { progress, handover, spent, unanswered } = wait;
    connection
        .prepare_cached(
            "INSERT INTO waiting (order_id, destination, event_id, dead_letter, correlation_id, traceparent, due, spent,
                 unanswered, retry_until, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (order_id, destination) DO UPDATE SET event_id = excluded.event_id,
                 dead_letter = excluded.dead_letter, correlation_id = excluded.correlation_id,
                 traceparent = excluded.traceparent, due = excluded.due, released_at = NULL,
                 spent = max(spent, excluded.spent), unanswered = max(unanswered, excluded.unanswered),
                 retry_until = excluded.retry_until, body = excluded.body",
        )?
        .execute(params![
            progress.order_id.0,
            progress.destination.as_str(),
            progress.event_id.0,
            progress.dead_letter,
            progress.correlation_id.as_str(),
            handover.traceparent,
            progress.next_attempt_at.as_microsecond(),
            spent,
            unanswered,
            handover.retry_until.as_microsecond(),
            handover.event.as_bytes(),
        ])?;
    Ok(())
}

/// A delivery has ended: it waits no longer.
pub(super) fn end(connection: &Connection, order_id: Uuid, destination: &str) -> Result<(), StoreFault> {
    connection
        .prepare_cached("DELETE FROM waiting WHERE order_id = ?1 AND destination = ?2")?
        .execute(params![order_id, destination])?;
    Ok(())
}
