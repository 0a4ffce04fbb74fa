//! Storing dead letters, with the ends of their deliveries, in one transaction.

use std::sync::Arc;

use common::{
    order::OrderId,
    outcome::{Outcome, OutcomeStatus},
    status::DeadLetterState,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::Desk;
use crate::{
    Collected, Collection, StoreFault,
    columns::parse_outcome,
    fault::Fault,
    rules::{DeadLetterColumns, End, Ending, Parent, ending, order_of},
    sql::{Row, Sql, Text},
};

const TAKEN: Text = Text::of("SELECT id FROM dead_letters WHERE fingerprint = $1");
const ENDED: Text = Text {
    sqlite: "SELECT outcome FROM deliveries WHERE order_id = $1 AND destination = $2 AND status <> 'pending'",
    postgres: "
    SELECT outcome FROM deliveries WHERE order_id = $1 AND destination = $2 AND status <> 'pending' FOR UPDATE",
};
const PARENT: Text = Text::of("SELECT key_used_at, redrives FROM dead_letters WHERE id = $1");
/// Another producer may have stored the same one at this moment: that one is waited for, and counts.
const INSERT: Text = Text::of(
    "
    INSERT INTO dead_letters (id, fingerprint, order_id, destination, state, reason, status_code, error, failed_at,
        key_used_at, attempts, body, headers, properties, deaths, parent, redrives, answer)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
    ON CONFLICT (fingerprint) DO NOTHING",
);

impl Desk {
    /// Stores dead letters in one transaction, each once, and the end of its delivery if the ledger does not
    /// have it. One answer for each, in their order.
    pub async fn collect(&self, letters: Vec<Arc<Collected>>, now: Timestamp) -> Result<Vec<Collection>, StoreFault> {
        let collected = letters.clone();
        let collections = self.operators.write(async move |sql| collect(sql, &letters, now).await).await?;
        let changed = collections.iter().zip(&collected).filter_map(|(collection, letter)| {
            let changed = matches!(collection, Collection::Stored { changed: true, .. });
            letter.identity.as_ref().filter(|_| changed).map(|identity| identity.order_id)
        });
        self.notify(changed);
        Ok(collections)
    }
}

async fn collect(sql: Sql<'_>, letters: &[Arc<Collected>], now: Timestamp) -> Result<Vec<Collection>, Fault> {
    // In the order of orders, so that two producers with the same ones wait for each other in turn.
    let mut order: Vec<_> = letters.iter().enumerate().collect();
    order.sort_by_key(|(_, letter)| (order_of(letter), &letter.origin));
    let mut collections = vec![Collection::Known; letters.len()];
    for (index, letter) in order {
        collections[index] = one(sql, letter, now).await?;
    }
    Ok(collections)
}

async fn one(sql: Sql<'_>, letter: &Collected, now: Timestamp) -> Result<Collection, Fault> {
    let Some(fingerprint) = free(sql, letter).await? else { return Ok(Collection::Known) };
    let Some(end) = end(sql, letter, now).await? else { return Ok(Collection::Waiting) };
    let id = Uuid::now_v7();
    if !insert(sql, id, fingerprint, letter, &end).await? {
        return Ok(Collection::Known);
    }
    if let Some(parent) = letter.parent {
        sql.end_redriven(parent, OutcomeStatus::DeadLettered).await?;
    }
    Ok(Collection::Stored { id, reason: end.reason, changed: end.changed })
}

/// The fingerprint to store it under; `None` if it is stored already.
async fn free(sql: Sql<'_>, letter: &Collected) -> Result<Option<[u8; 32]>, Fault> {
    for fingerprint in std::iter::once(letter.fingerprint).chain(letter.otherwise) {
        if sql.first(TAKEN, &[&fingerprint.as_slice()], |_| Ok(())).await?.is_none() {
            return Ok(Some(fingerprint));
        }
    }
    Ok(None)
}

/// The end that the ledger has, or gets now. `None` while a report may still come.
async fn end(sql: Sql<'_>, letter: &Collected, now: Timestamp) -> Result<Option<End>, Fault> {
    let destination = letter.origin.as_str();
    let ledger = match order_of(letter) {
        Some(order_id) => ended(sql, order_id, destination).await?,
        None => None,
    };
    let (reason, outcome) = match ending(letter, ledger, now) {
        Ending::Known(end) => return Ok(Some(end)),
        Ending::Open => return Ok(None),
        Ending::New(reason, outcome) => (reason, *outcome),
    };
    sql.record(&outcome).await?;
    // The ledger also has the attempts of earlier deliveries.
    let outcome = ended(sql, outcome.order_id.0, destination).await?.unwrap_or(outcome);
    Ok(Some(End { state: DeadLetterState::Dead, reason: reason.into(), outcome: Some(outcome), changed: true }))
}

/// The outcome in the ledger, if the delivery has ended.
async fn ended(sql: Sql<'_>, order_id: Uuid, destination: &str) -> Result<Option<Outcome>, Fault> {
    let json = sql.first(ENDED, &[&order_id, &destination], |row| row.get::<String>(0)).await?;
    Ok(json.and_then(|json| match parse_outcome(&json) {
        Ok(outcome) => Some(outcome),
        Err(fault) => {
            // It is written again: failing here would fail every dead letter of the transaction, again and again.
            tracing::error!(order_id = %OrderId(order_id), destination, %fault, "not taken from the ledger");
            None
        }
    }))
}

async fn insert(sql: Sql<'_>, id: Uuid, fingerprint: [u8; 32], letter: &Collected, end: &End) -> Result<bool, Fault> {
    let parent = match letter.parent {
        Some(parent) => {
            let read = |row: &Row<'_>| Ok(Parent { key_used_at: row.get(0)?, redrives: row.get(1)? });
            sql.first(PARENT, &[&parent], read).await?
        }
        None => None,
    };
    let columns = DeadLetterColumns::of(letter, end, parent)?;
    let inserted = sql
        .execute(
            INSERT,
            &[
                &id,
                &fingerprint.as_slice(),
                &columns.order_id,
                &letter.origin.as_str(),
                &end.state.as_str(),
                &end.reason.as_str(),
                &columns.status_code,
                &columns.error,
                &columns.failed_at,
                &columns.key_used_at,
                &columns.attempts,
                &letter.content.body,
                &columns.headers,
                &columns.properties,
                &columns.deaths,
                &columns.parent,
                &columns.redrives,
                &columns.answer,
            ],
        )
        .await?;
    Ok(inserted == 1)
}
