//! Dead letters that are sent again, in the ledger.

use common::{event::now, outcome::OutcomeStatus};
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::numbers::Numbers;
use crate::{RedriveItem, StoreFault, rules::state_after};

/// A dead letter that was sent again has ended. In the caller's transaction; once is enough, and more changes
/// nothing.
pub(crate) fn end(connection: &Connection, dead_letter: Uuid, end: OutcomeStatus) -> Result<(), StoreFault> {
    connection
        .prepare_cached(
            "UPDATE redrive_items SET state = ?2, ended_at = ?3 WHERE dead_letter = ?1 AND state IN ('sending', 'sent')",
        )?
        .execute(params![dead_letter, end.as_str(), now().as_microsecond()])?;
    connection
        .prepare_cached("UPDATE dead_letters SET state = ?2 WHERE id = ?1 AND state = 'redriving'")?
        .execute(params![dead_letter, state_after(end).as_str()])?;
    Ok(())
}

/// The deliveries of these dead letters are pending again, and so are their orders.
pub(crate) fn reopen(connection: &Connection, items: &[RedriveItem]) -> Result<(), StoreFault> {
    let mut numbers = Numbers::reserve(connection, 0, items.len(), 0)?;
    for item in items {
        reopen_one(connection, item, numbers.next_change())?;
    }
    Ok(())
}

fn reopen_one(connection: &Connection, item: &RedriveItem, change: i64) -> Result<(), StoreFault> {
    let Some(order_id) = item.order_id else { return Ok(()) };
    let destination = item.origin.as_str();
    let reopened = connection
        .prepare_cached(
            "UPDATE deliveries SET status = 'pending', dead_letter = ?3, change = ?4
             WHERE order_id = ?1 AND destination = ?2 AND status <> 'delivered'",
        )?
        .execute(params![order_id.0, destination, item.dead_letter, change])?;
    if reopened == 0 {
        return Ok(());
    }
    let open: Option<String> = connection
        .prepare_cached("SELECT open FROM pending WHERE order_id = ?1")?
        .query_row(params![order_id.0], |row| row.get(0))
        .optional()?;
    match open {
        Some(open) if open.split(',').any(|name| name == destination) => {}
        Some(open) => {
            connection
                .prepare_cached("UPDATE pending SET open = ?2 WHERE order_id = ?1")?
                .execute(params![order_id.0, format!("{open},{destination}")])?;
        }
        // An event of another program may name an order that is not stored here.
        None => {
            connection
                .prepare_cached(
                    "INSERT INTO pending (order_id, open, place) SELECT order_id, ?2, NULL FROM orders WHERE order_id = ?1",
                )?
                .execute(params![order_id.0, destination])?;
        }
    }
    Ok(())
}
