//! Dead letters and the ends of their deliveries, in one transaction.

use std::sync::Arc;

use common::{
    event::Identity,
    outcome::{Outcome, OutcomeStatus, Reason},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::Serialize;
use uuid::Uuid;

use super::super::{Numbers, parse_outcome, record};
use crate::store::{Collected, Collection, State, StoreFault};

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
        supersede(transaction, parent)?;
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

/// How the delivery of a dead letter ended.
struct End {
    state: State,
    reason: Reason,
    /// As the ledger has it, where the letter is of an order.
    outcome: Option<Outcome>,
    /// Whether it was written into the ledger just now.
    changed: bool,
}

/// The end that the ledger knows, or is told now. None while a report may still come.
fn end(transaction: &Transaction<'_>, letter: &Collected, now: Timestamp) -> Result<Option<End>, StoreFault> {
    let Some(identity) = letter.identity.as_ref().filter(|_| letter.destination != crate::store::OUTCOMES) else {
        // No report can name it.
        let reason = letter.reason.unwrap_or(Reason::Unreported);
        return Ok(Some(End { state: State::Dead, reason, outcome: None, changed: false }));
    };
    if let Some(outcome) = ended(transaction, identity, &letter.destination)? {
        // A body that cannot be read is not what was delivered, whatever order it names.
        let unreadable = letter.reason.filter(|reason| *reason == Reason::Unreadable);
        let delivered = outcome.status == OutcomeStatus::Delivered && unreadable.is_none();
        let state = if delivered { State::Delivered } else { State::Dead };
        let reason = unreadable.or(outcome.reason).or(letter.reason).unwrap_or(Reason::Unreported);
        return Ok(Some(End { state, reason, outcome: Some(outcome), changed: false }));
    }
    let reason = match letter.reason {
        Some(reason) => reason,
        None if now < letter.report_by => return Ok(None),
        None => Reason::Unreported,
    };
    let outcome = Outcome {
        event_id: identity.event_id,
        order_id: identity.order_id,
        correlation_id: identity.correlation_id.clone(),
        destination: letter.destination.clone(),
        status: OutcomeStatus::DeadLettered,
        reason: Some(reason),
        attempts: Vec::new(),
        settled_at: letter.died_at,
    };
    let mut numbers = Numbers::reserve(transaction, 0, 1, 0)?;
    record(transaction, &outcome, &mut numbers)?;
    // Attempts of an earlier life are in the ledger.
    let outcome = ended(transaction, identity, &letter.destination)?.unwrap_or(outcome);
    Ok(Some(End { state: State::Dead, reason, outcome: Some(outcome), changed: true }))
}

/// What the ledger says, if the delivery has ended.
fn ended(transaction: &Transaction<'_>, identity: &Identity, destination: &str) -> Result<Option<Outcome>, StoreFault> {
    let json: Option<String> = transaction
        .prepare_cached(
            "SELECT outcome FROM deliveries WHERE order_id = ?1 AND destination = ?2 AND status <> 'pending'",
        )?
        .query_row(params![identity.order_id.0, destination], |row| row.get(0))
        .optional()?;
    Ok(json.and_then(|json| match parse_outcome(&json) {
        Ok(outcome) => Some(outcome),
        Err(fault) => {
            // It is written anew: failing here would fail every dead letter beside this one, for ever.
            tracing::error!(order_id = %identity.order_id, destination, %fault, "not taken from the ledger");
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
    let attempts = end.outcome.as_ref().map(|outcome| outcome.attempts.as_slice()).unwrap_or_default();
    let last = attempts.last();
    let parent: Option<(Option<i64>, u32)> = match letter.parent {
        Some(parent) => transaction
            .prepare_cached("SELECT key_used_at, redrives FROM dead_letters WHERE id = ?1")?
            .query_row(params![parent], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?,
        None => None,
    };
    let first_used = attempts.first().map(|attempt| attempt.at).or(letter.accepted_at).map(Timestamp::as_microsecond);
    let key_used_at = [parent.and_then(|(used, _)| used), first_used].into_iter().flatten().min();
    let failed_at = end.outcome.as_ref().map_or(letter.died_at, |outcome| outcome.settled_at);
    let content = &letter.content;
    transaction
        .prepare_cached(
            "INSERT INTO dead_letters (id, fingerprint, order_id, destination, state, reason, status_code, error, failed_at,
                 key_used_at, attempts, body, headers, properties, deaths, parent, redrives)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            id,
            fingerprint,
            letter.identity.as_ref().map(|identity| identity.order_id.0),
            letter.destination,
            end.state.as_str(),
            end.reason.as_str(),
            last.and_then(|attempt| attempt.status_code),
            letter.error.as_deref().or(last.and_then(|attempt| attempt.error.as_deref())),
            failed_at.as_microsecond(),
            key_used_at,
            json(attempts)?,
            content.body,
            json(&content.headers)?,
            json(&content.properties)?,
            json(&content.deaths)?,
            letter.parent.filter(|_| parent.is_some()),
            parent.map_or(0, |(_, redrives)| redrives + 1),
        ])?;
    Ok(())
}

/// A dead letter that was sent again is dead again, as a later one.
fn supersede(transaction: &Transaction<'_>, parent: Uuid) -> Result<(), StoreFault> {
    transaction
        .prepare_cached("UPDATE dead_letters SET state = 'redriven' WHERE id = ?1 AND state = 'redriving'")?
        .execute(params![parent])?;
    transaction
        .prepare_cached(
            "UPDATE redrive_items SET state = 'dead_lettered' WHERE dead_letter = ?1 AND state IN ('sending', 'sent')",
        )?
        .execute(params![parent])?;
    Ok(())
}

/// A report that came after its dead letter tells more than could be known then.
pub(in super::super) fn correct(transaction: &Transaction<'_>, truth: &Outcome) -> Result<(), StoreFault> {
    let last = truth.attempts.last();
    let state = if truth.status == OutcomeStatus::Delivered { State::Delivered } else { State::Dead };
    transaction
        .prepare_cached(
            "UPDATE dead_letters SET state = ?3, reason = ifnull(?4, reason), status_code = ?5, error = ifnull(?6, error),
                 failed_at = ?7, attempts = ?8
             WHERE order_id = ?1 AND destination = ?2 AND state = 'dead' AND reason <> 'unreadable'",
        )?
        .execute(params![
            truth.order_id.0,
            truth.destination,
            state.as_str(),
            truth.reason.map(Reason::as_str),
            last.and_then(|attempt| attempt.status_code),
            last.and_then(|attempt| attempt.error.as_deref()),
            truth.settled_at.as_microsecond(),
            json(&truth.attempts)?,
        ])?;
    Ok(())
}

fn json(part: &(impl Serialize + ?Sized)) -> Result<String, StoreFault> {
    serde_json::to_string(part)
        .map_err(|fault| StoreFault::Database(format!("cannot encode a part of a dead letter: {fault}")))
}
