//! Dead letters and the ends of their deliveries, in one transaction.

use std::sync::Arc;

use common::outcome::{Outcome, OutcomeStatus, Reason};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::super::{line::Numbers, parse_outcome, record::record, redrives};
use crate::{
    Collected, Collection, State, StoreFault,
    dead_letters::{
        ending::{End, Ending, Fields, Parent, ending, last_error, last_status, order_of},
        stored::json,
    },
};

pub(super) fn collect(
    connection: &mut Connection,
    letters: &[Arc<Collected>],
    now: Timestamp,
) -> Result<Vec<Collection>, StoreFault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let collections =
        letters.iter().map(|letter| one(&transaction, letter, now)).collect::<Result<Vec<_>, StoreFault>>()?;
    transaction.commit()?;
    Ok(collections)
}

fn one(transaction: &Transaction<'_>, letter: &Collected, now: Timestamp) -> Result<Collection, StoreFault> {
    let Some(fingerprint) = free(transaction, letter)? else { return Ok(Collection::Known) };
    let Some(end) = end(transaction, letter, now)? else { return Ok(Collection::Waiting) };
    let id = Uuid::now_v7();
    insert(transaction, id, fingerprint, letter, &end)?;
    if let Some(parent) = letter.parent {
        redrives::ended(transaction, parent, OutcomeStatus::DeadLettered)?;
    }
    Ok(Collection::Stored { id, reason: end.reason, changed: end.changed })
}

/// The fingerprint to store it under; none where it is stored already.
fn free(transaction: &Transaction<'_>, letter: &Collected) -> Result<Option<[u8; 32]>, StoreFault> {
    for fingerprint in std::iter::once(letter.fingerprint).chain(letter.otherwise) {
        let taken = transaction
            .prepare_cached("SELECT 1 FROM dead_letters WHERE fingerprint = ?1")?
            .exists(params![fingerprint])?;
        if !taken {
            return Ok(Some(fingerprint));
        }
    }
    Ok(None)
}

/// The end that the ledger knows, or is told now. None while a report may still come.
fn end(transaction: &Transaction<'_>, letter: &Collected, now: Timestamp) -> Result<Option<End>, StoreFault> {
    let known = |order_id| ended(transaction, order_id, letter.origin.as_str());
    let of_ledger = order_of(letter).map(known).transpose()?.flatten();
    let (reason, outcome) = match ending(letter, of_ledger, now) {
        Ending::Known(end) => return Ok(Some(end)),
        Ending::Open => return Ok(None),
        Ending::Told(reason, outcome) => (reason, *outcome),
    };
    let mut numbers = Numbers::reserve(transaction, 0, 1, 0)?;
    record(transaction, &outcome, &mut numbers)?;
    // Attempts of an earlier life are in the ledger.
    let outcome = known(outcome.order_id.0)?.unwrap_or(outcome);
    Ok(Some(End { state: State::Dead, reason, outcome: Some(outcome), changed: true }))
}

/// What the ledger says, if the delivery has ended.
fn ended(transaction: &Transaction<'_>, order_id: Uuid, destination: &str) -> Result<Option<Outcome>, StoreFault> {
    let json: Option<String> = transaction
        .prepare_cached(
            "SELECT outcome FROM deliveries WHERE order_id = ?1 AND destination = ?2 AND status <> 'pending'",
        )?
        .query_row(params![order_id, destination], |row| row.get(0))
        .optional()?;
    Ok(json.and_then(|json| match parse_outcome(&json) {
        Ok(outcome) => Some(outcome),
        Err(fault) => {
            // It is written anew: failing here would fail every dead letter beside this one, for ever.
            tracing::error!(%order_id, destination, %fault, "not taken from the ledger");
            None
        }
    }))
}

fn insert(
    transaction: &Transaction<'_>,
    id: Uuid,
    fingerprint: [u8; 32],
    letter: &Collected,
    end: &End,
) -> Result<(), StoreFault> {
    let parent = match letter.parent {
        Some(parent) => transaction
            .prepare_cached("SELECT key_used_at, redrives FROM dead_letters WHERE id = ?1")?
            .query_row(params![parent], |row| Ok(Parent { key_used_at: row.get(0)?, redrives: row.get(1)? }))
            .optional()?,
        None => None,
    };
    let fields = Fields::of(letter, end, parent)?;
    transaction
        .prepare_cached(
            "INSERT INTO dead_letters (id, fingerprint, order_id, destination, state, reason, status_code, error, failed_at,
                 key_used_at, attempts, body, headers, properties, deaths, parent, redrives)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            id,
            fingerprint,
            fields.order_id,
            letter.origin.as_str(),
            end.state.as_str(),
            end.reason.as_str(),
            fields.status_code,
            fields.error,
            fields.failed_at,
            fields.key_used_at,
            fields.attempts,
            letter.content.body,
            fields.headers,
            fields.properties,
            fields.deaths,
            fields.parent,
            fields.redrives,
        ])?;
    Ok(())
}

/// A report that came after its dead letter tells more than could be known then.
pub(in super::super) fn correct(transaction: &Transaction<'_>, truth: &Outcome) -> Result<(), StoreFault> {
    let state = if truth.status == OutcomeStatus::Delivered { State::Delivered } else { State::Dead };
    transaction
        .prepare_cached(
            "UPDATE dead_letters SET state = ?3, reason = ifnull(?4, reason), status_code = ?5, error = ifnull(?6, error),
                 failed_at = ?7, attempts = ?8
             WHERE order_id = ?1 AND destination = ?2 AND state = 'dead' AND reason <> 'unreadable'",
        )?
        .execute(params![
            truth.order_id.0,
            truth.destination.as_str(),
            state.as_str(),
            truth.reason.map(Reason::as_str),
            last_status(&truth.attempts),
            last_error(&truth.attempts),
            truth.settled_at.as_microsecond(),
            json(&truth.attempts)?,
        ])?;
    Ok(())
}
