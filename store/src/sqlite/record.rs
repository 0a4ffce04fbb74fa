//! Recording outcomes: the ledger, and the orders that are no longer pending.

use common::outcome::Outcome;
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::{dead_letters, numbers::Numbers, redrives};
use crate::{
    StoreFault,
    columns::{json, parse_outcome},
    rules::{ends, merge_stored, redrive_ends},
};

/// Records outcomes in the caller's transaction.
pub(super) fn record(connection: &Connection, outcomes: &[Outcome], numbers: &mut Numbers) -> Result<(), StoreFault> {
    for outcome in outcomes {
        one(connection, outcome, numbers.next_change())?;
    }
    for (dead_letter, end) in redrive_ends(outcomes) {
        redrives::end(connection, dead_letter, end)?;
    }
    Ok(())
}

/// The same for a single outcome.
pub(crate) fn record_one(connection: &Connection, outcome: &Outcome) -> Result<(), StoreFault> {
    let mut numbers = Numbers::reserve(connection, 0, 1, 0)?;
    record(connection, std::slice::from_ref(outcome), &mut numbers)
}

/// One ledger row for each delivery, usually written once.
fn one(connection: &Connection, outcome: &Outcome, change: i64) -> Result<(), StoreFault> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO deliveries (order_id, destination, status, change, outcome) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (order_id, destination) DO NOTHING",
        )?
        .execute(params![
            outcome.order_id.0,
            outcome.destination.as_str(),
            outcome.status.as_str(),
            change,
            json(outcome)?
        ])?;
    if inserted == 1 || again(connection, outcome, change)? { close(connection, outcome) } else { Ok(()) }
}

/// A further report of a delivery of which one is known. Returns whether the delivery was pending and
/// has ended with it.
fn again(connection: &Connection, outcome: &Outcome, change: i64) -> Result<bool, StoreFault> {
    let (known, pending, redriven): (String, bool, Option<Uuid>) = connection
        .prepare_cached(
            "SELECT outcome, status = 'pending', dead_letter FROM deliveries WHERE order_id = ?1 AND destination = ?2",
        )?
        .query_row(params![outcome.order_id.0, outcome.destination.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let truth = merge_stored(parse_outcome(&known), outcome);
    let still_pending = pending && !ends(redriven, outcome);
    let status = if still_pending { "pending" } else { truth.status.as_str() };
    connection
        .prepare_cached(
            "UPDATE deliveries SET status = ?3, dead_letter = ?4, change = ?5, outcome = ?6
             WHERE order_id = ?1 AND destination = ?2",
        )?
        .execute(params![
            truth.order_id.0,
            truth.destination.as_str(),
            status,
            redriven.filter(|_| still_pending),
            change,
            json(&truth)?
        ])?;
    if !still_pending {
        dead_letters::correct(connection, &truth)?;
    }
    Ok(pending && !still_pending)
}

/// Removes a delivery that has ended from those that are pending.
fn close(connection: &Connection, outcome: &Outcome) -> Result<(), StoreFault> {
    let open: Option<String> = connection
        .prepare_cached("SELECT open FROM pending WHERE order_id = ?1")?
        .query_row(params![outcome.order_id.0], |row| row.get(0))
        .optional()?;
    let Some(open) = open else { return Ok(()) };
    let rest: Vec<_> = open.split(',').filter(|name| *name != outcome.destination.as_str()).collect();
    if rest.is_empty() {
        connection.prepare_cached("DELETE FROM pending WHERE order_id = ?1")?.execute(params![outcome.order_id.0])?;
    } else {
        connection
            .prepare_cached("UPDATE pending SET open = ?2 WHERE order_id = ?1")?
            .execute(params![outcome.order_id.0, rest.join(",")])?;
    }
    Ok(())
}
