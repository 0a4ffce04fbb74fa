//! Recording what is reported: the ledger, what waits, and the orders that are no longer pending.

use common::outcome::{Outcome, OutcomeStatus};
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::{dead_letters, numbers::Numbers, redrives, waiting};
use crate::{
    StoreFault,
    columns::{json, parse_entry},
    rules::{Delivery, Died, Line, Taken, redrive_ends},
};

/// Records lines of reports in the caller's transaction. Returns which deliveries have become dead letters, for
/// the caller to list.
pub(super) fn record(
    connection: &Connection,
    lines: &[Line<'_>],
    numbers: &mut Numbers,
) -> Result<Vec<Died>, StoreFault> {
    let mut died = Vec::new();
    for line in lines {
        died.extend(one(connection, *line, numbers.next_change())?);
    }
    for (dead_letter, end) in redrive_ends(lines) {
        redrives::end(connection, dead_letter, end)?;
    }
    Ok(died)
}

/// The same for a single outcome.
pub(crate) fn record_one(connection: &Connection, outcome: &Outcome) -> Result<Vec<Died>, StoreFault> {
    let mut numbers = Numbers::reserve(connection, 0, 1, 0)?;
    record(connection, &[Line::Ended(outcome)], &mut numbers)
}

/// One ledger row for each delivery, usually written once, by its outcome.
fn one(connection: &Connection, line: Line<'_>, change: i64) -> Result<Option<Died>, StoreFault> {
    let (order_id, destination) = line.delivery();
    let (status, entry) = match line {
        Line::Ended(outcome) => (outcome.status.as_str(), json(outcome)?),
        Line::Waits(_) => {
            let (delivery, _) = Delivery::begin(line);
            (delivery.status(), json(&delivery.entry)?)
        }
    };
    let inserted = connection
        .prepare_cached(
            "INSERT INTO deliveries (order_id, destination, status, change, outcome) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (order_id, destination) DO NOTHING",
        )?
        .execute(params![order_id, destination, status, change, entry])?;
    let (delivery, taken) = match inserted {
        // The usual case needs no copy of the outcome.
        1 if matches!(line, Line::Ended(outcome) if outcome.status == OutcomeStatus::Delivered) => {
            close(connection, order_id, destination)?;
            return Ok(None);
        }
        0 => match again(connection, line, change)? {
            Some(known) => known,
            None => return Ok(None),
        },
        _ => Delivery::begin(line),
    };
    match taken {
        Taken::Noted => Ok(None),
        Taken::HandedOver(wait) => {
            waiting::begin(connection, &wait)?;
            Ok(None)
        }
        Taken::Ended(outcome) => {
            close(connection, order_id, destination)?;
            Ok(Died::of(&delivery, outcome))
        }
    }
}

/// A further report of a delivery of which one is known. `None` if nothing can be made of what is stored.
fn again<'a>(
    connection: &Connection,
    line: Line<'a>,
    change: i64,
) -> Result<Option<(Delivery, Taken<'a>)>, StoreFault> {
    let (order_id, destination) = line.delivery();
    let (known, pending, redriven): (String, bool, Option<Uuid>) = connection
        .prepare_cached(
            "SELECT outcome, status = 'pending', dead_letter FROM deliveries WHERE order_id = ?1 AND destination = ?2",
        )?
        .query_row(params![order_id, destination], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let known = Delivery::stored(parse_entry(&known), pending, redriven, &[line]);
    let Some(mut delivery) = known else { return Ok(None) };
    let taken = delivery.take(line);
    connection
        .prepare_cached(
            "UPDATE deliveries SET status = ?3, dead_letter = ?4, change = ?5, outcome = ?6
             WHERE order_id = ?1 AND destination = ?2",
        )?
        .execute(params![
            order_id,
            destination,
            delivery.status(),
            delivery.redriven,
            change,
            json(&delivery.entry)?
        ])?;
    if !delivery.pending {
        dead_letters::correct(connection, &delivery.entry)?;
        waiting::end(connection, order_id, destination)?;
    }
    Ok(Some((delivery, taken)))
}

/// Removes a delivery that has ended from those that are pending.
fn close(connection: &Connection, order_id: Uuid, destination: &str) -> Result<(), StoreFault> {
    let open: Option<String> = connection
        .prepare_cached("SELECT open FROM pending WHERE order_id = ?1")?
        .query_row(params![order_id], |row| row.get(0))
        .optional()?;
    let Some(open) = open else { return Ok(()) };
    let rest: Vec<_> = open.split(',').filter(|name| *name != destination).collect();
    if rest.is_empty() {
        connection.prepare_cached("DELETE FROM pending WHERE order_id = ?1")?.execute(params![order_id])?;
    } else {
        connection
            .prepare_cached("UPDATE pending SET open = ?2 WHERE order_id = ?1")?
            .execute(params![order_id, rest.join(",")])?;
    }
    Ok(())
}
