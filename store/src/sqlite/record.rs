//! Recording outcomes: the ledger, and the orders that are pending no more.

use common::outcome::{Outcome, OutcomeStatus};
use rusqlite::{OptionalExtension as _, Transaction, params};
use uuid::Uuid;

use super::{dead_letters, line::Numbers, redrives};
use crate::{
    StoreFault,
    columns::{parse_outcome, to_json},
    merge,
};

/// One ledger row for each delivery, usually written once.
pub(super) fn record(
    transaction: &Transaction<'_>,
    outcome: &Outcome,
    numbers: &mut Numbers,
) -> Result<(), StoreFault> {
    let change = numbers.next_change();
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO deliveries (order_id, destination, status, change, outcome) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (order_id, destination) DO NOTHING",
        )?
        .execute(params![
            outcome.order_id.0,
            outcome.destination.as_str(),
            outcome.status.as_str(),
            change,
            to_json(outcome)?
        ])?;
    let ended = inserted == 1 || record_again(transaction, outcome, change)?;
    if let Some(dead_letter) = outcome.dead_letter {
        redrives::ended(transaction, dead_letter, outcome.status)?;
    }
    if ended { close(transaction, outcome) } else { Ok(()) }
}

/// A further report of a delivery of which one is known. Tells whether the delivery was pending and
/// has ended with it: while its dead letter is being sent again, it ends with the outcome of that, or
/// with whatever delivers it.
fn record_again(transaction: &Transaction<'_>, outcome: &Outcome, change: i64) -> Result<bool, StoreFault> {
    let (known, pending, redriven): (String, bool, Option<Uuid>) = transaction
        .prepare_cached(
            "SELECT outcome, status = 'pending', dead_letter FROM deliveries WHERE order_id = ?1 AND destination = ?2",
        )?
        .query_row(params![outcome.order_id.0, outcome.destination.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let truth = match parse_outcome(&known) {
        Ok(known) => merge(known, outcome.clone()),
        Err(fault) => {
            // Failing here would fail every order that shares this transaction, for ever.
            tracing::error!(order_id = %outcome.order_id, correlation_id = %outcome.correlation_id, %fault, "replaced");
            outcome.clone()
        }
    };
    let delivered = outcome.status == OutcomeStatus::Delivered;
    let runs_on = pending && !delivered && outcome.dead_letter != redriven;
    let status = if runs_on { "pending" } else { truth.status.as_str() };
    transaction
        .prepare_cached(
            "UPDATE deliveries SET status = ?3, dead_letter = ?4, change = ?5, outcome = ?6
             WHERE order_id = ?1 AND destination = ?2",
        )?
        .execute(params![
            truth.order_id.0,
            truth.destination.as_str(),
            status,
            redriven.filter(|_| runs_on),
            change,
            to_json(&truth)?
        ])?;
    if !runs_on {
        dead_letters::correct(transaction, &truth)?;
    }
    Ok(pending && !runs_on)
}

/// Removes a delivery that has ended from those that are pending.
fn close(transaction: &Transaction<'_>, outcome: &Outcome) -> Result<(), StoreFault> {
    let open: Option<String> = transaction
        .prepare_cached("SELECT open FROM pending WHERE order_id = ?1")?
        .query_row(params![outcome.order_id.0], |row| row.get(0))
        .optional()?;
    let Some(open) = open else { return Ok(()) };
    let rest: Vec<_> = open.split(',').filter(|name| outcome.destination != *name).collect();
    if rest.is_empty() {
        transaction.prepare_cached("DELETE FROM pending WHERE order_id = ?1")?.execute(params![outcome.order_id.0])?;
    } else {
        transaction
            .prepare_cached("UPDATE pending SET open = ?2 WHERE order_id = ?1")?
            .execute(params![outcome.order_id.0, rest.join(",")])?;
    }
    Ok(())
}
