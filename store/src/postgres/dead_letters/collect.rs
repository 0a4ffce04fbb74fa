//! Dead letters and the ends of their deliveries, in one transaction.

use std::sync::Arc;

use common::outcome::{Outcome, OutcomeStatus, Reason};
use jiff::Timestamp;
use uuid::Uuid;

use super::super::{fault::Fault, record::record, redrives, session::Session};
use crate::{
    Collected, Collection, State,
    columns::parse_outcome,
    dead_letters::{
        ending::{End, Ending, Fields, Parent, ending, last_error, last_status, order_of},
        stored::json,
    },
};

const TAKEN: &str = "SELECT FROM dead_letters WHERE fingerprint = $1";
const ENDED: &str =
    "SELECT outcome FROM deliveries WHERE order_id = $1 AND destination = $2 AND status <> 'pending' FOR UPDATE";
const PARENT: &str = "SELECT key_used_at, redrives FROM dead_letters WHERE id = $1";

/// Another producer may have stored the same one in this moment: that one is waited for, and stands.
const INSERT: &str = "
    INSERT INTO dead_letters (id, fingerprint, order_id, destination, state, reason, status_code, error, failed_at,
        key_used_at, attempts, body, headers, properties, deaths, parent, redrives)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
    ON CONFLICT (fingerprint) DO NOTHING";

/// By the index of an order's dead letters; few orders have any.
pub(in super::super) const CORRECT: &str = "
    UPDATE dead_letters
    SET state = new.state, reason = coalesce(new.reason, dead_letters.reason), status_code = new.status_code,
        error = coalesce(new.error, dead_letters.error), failed_at = new.failed_at, attempts = new.attempts
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::bigint[], $8::text[])
        AS new (order_id, destination, state, reason, status_code, error, failed_at, attempts)
    WHERE dead_letters.order_id = new.order_id AND dead_letters.destination = new.destination
        AND dead_letters.state = 'dead' AND dead_letters.reason <> 'unreadable'";

pub(super) async fn collect(
    session: &Session,
    letters: &[Arc<Collected>],
    now: Timestamp,
) -> Result<Vec<Collection>, Fault> {
    // In the order of orders, so that two producers with the same ones wait for each other in turn.
    let mut order: Vec<_> = (0..letters.len()).zip(letters).collect();
    order.sort_by_key(|(_, letter)| (order_of(letter), &letter.origin));
    let mut collections = vec![Collection::Known; letters.len()];
    for (index, letter) in order {
        collections[index] = one(session, letter, now).await?;
    }
    Ok(collections)
}

async fn one(session: &Session, letter: &Collected, now: Timestamp) -> Result<Collection, Fault> {
    let Some(fingerprint) = free(session, letter).await? else { return Ok(Collection::Known) };
    let Some(end) = end(session, letter, now).await? else { return Ok(Collection::Waiting) };
    let id = Uuid::now_v7();
    if !insert(session, id, fingerprint, letter, &end).await? {
        return Ok(Collection::Known);
    }
    if let Some(parent) = letter.parent {
        redrives::end_all(session, &[(parent, OutcomeStatus::DeadLettered)]).await?;
    }
    Ok(Collection::Stored { id, reason: end.reason, changed: end.changed })
}

/// The fingerprint to store it under; none where it is stored already.
async fn free(session: &Session, letter: &Collected) -> Result<Option<[u8; 32]>, Fault> {
    for fingerprint in std::iter::once(letter.fingerprint).chain(letter.otherwise) {
        if session.query_first(TAKEN, &[&fingerprint.as_slice()]).await?.is_none() {
            return Ok(Some(fingerprint));
        }
    }
    Ok(None)
}

/// The end that the ledger knows, or is told now. None while a report may still come.
async fn end(session: &Session, letter: &Collected, now: Timestamp) -> Result<Option<End>, Fault> {
    let of_ledger = match order_of(letter) {
        Some(order_id) => ended(session, order_id, letter.origin.as_str()).await?,
        None => None,
    };
    let (reason, outcome) = match ending(letter, of_ledger, now) {
        Ending::Known(end) => return Ok(Some(end)),
        Ending::Open => return Ok(None),
        Ending::Told(reason, outcome) => (reason, *outcome),
    };
    record(session, std::slice::from_ref(&outcome)).await?;
    // Attempts of an earlier life are in the ledger.
    let outcome = ended(session, outcome.order_id.0, letter.origin.as_str()).await?.unwrap_or(outcome);
    Ok(Some(End { state: State::Dead, reason, outcome: Some(outcome), changed: true }))
}

/// What the ledger says, if the delivery has ended.
async fn ended(session: &Session, order_id: Uuid, destination: &str) -> Result<Option<Outcome>, Fault> {
    let Some(row) = session.query_first(ENDED, &[&order_id, &destination]).await? else { return Ok(None) };
    match parse_outcome(row.try_get(0)?) {
        Ok(outcome) => Ok(Some(outcome)),
        Err(fault) => {
            // It is written anew: failing here would fail every dead letter beside this one, for ever.
            tracing::error!(%order_id, destination, %fault, "not taken from the ledger");
            Ok(None)
        }
    }
}

async fn insert(
    session: &Session,
    id: Uuid,
    fingerprint: [u8; 32],
    letter: &Collected,
    end: &End,
) -> Result<bool, Fault> {
    let parent = match letter.parent {
        Some(parent) => session.query_first(PARENT, &[&parent]).await?,
        None => None,
    };
    let parent = match parent {
        Some(row) => Some(Parent { key_used_at: row.try_get(0)?, redrives: row.try_get(1)? }),
        None => None,
    };
    let fields = Fields::of(letter, end, parent)?;
    let inserted = session
        .execute(
            INSERT,
            &[
                &id,
                &fingerprint.as_slice(),
                &fields.order_id,
                &letter.origin.as_str(),
                &end.state.as_str(),
                &end.reason.as_str(),
                &fields.status_code,
                &fields.error,
                &fields.failed_at,
                &fields.key_used_at,
                &fields.attempts,
                &letter.content.body,
                &fields.headers,
                &fields.properties,
                &fields.deaths,
                &fields.parent,
                &fields.redrives,
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// A report that came after its dead letter tells more than could be known then.
pub(in super::super) async fn correct(session: &Session, truths: &[Outcome]) -> Result<(), Fault> {
    let state = |truth: &Outcome| match truth.status {
        OutcomeStatus::Delivered => State::Delivered.as_str(),
        OutcomeStatus::DeadLettered => State::Dead.as_str(),
    };
    let order_ids: Vec<_> = truths.iter().map(|truth| truth.order_id.0).collect();
    let destinations: Vec<_> = truths.iter().map(|truth| truth.destination.as_str()).collect();
    let states: Vec<_> = truths.iter().map(state).collect();
    let reasons: Vec<_> = truths.iter().map(|truth| truth.reason.map(Reason::as_str)).collect();
    let codes: Vec<_> = truths.iter().map(|truth| last_status(&truth.attempts)).collect();
    let errors: Vec<_> = truths.iter().map(|truth| last_error(&truth.attempts)).collect();
    let times: Vec<_> = truths.iter().map(|truth| truth.settled_at.as_microsecond()).collect();
    let attempts: Vec<_> = truths.iter().map(|truth| json(&truth.attempts)).collect::<Result<_, _>>()?;
    session
        .execute(CORRECT, &[&order_ids, &destinations, &states, &reasons, &codes, &errors, &times, &attempts])
        .await?;
    Ok(())
}
