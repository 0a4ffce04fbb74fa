//! Storing dead letters, with the ends of their deliveries, in one transaction.

use std::sync::Arc;

use common::{
    order::OrderId,
    outcome::{OutcomeStatus, Reason},
    status::DeadLetterState,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Desk,
    listing::{INSERT, Listed},
};
use crate::{
    Collected, Collection, Content, LedgerEntry, StoreFault,
    columns::{json, parse_entry},
    fault::Fault,
    rules::{End, Ending, Parent, ending, order_of},
    sql::{Row, Sql, Text},
};

const TAKEN: Text = Text::of("SELECT id FROM dead_letters WHERE fingerprint = $1");
const ENDED: Text = Text {
    sqlite: "SELECT outcome FROM deliveries WHERE order_id = $1 AND destination = $2 AND status <> 'pending'",
    postgres: "
    SELECT outcome FROM deliveries WHERE order_id = $1 AND destination = $2 AND status <> 'pending' FOR UPDATE",
};
const PARENT: Text = Text::of("SELECT key_used_at, redrives FROM dead_letters WHERE id = $1");
/// The broker's copy of a dead letter that was listed with its report says how it died.
const WITNESSED: Text = Text::of(
    "
    UPDATE dead_letters SET headers = $2, properties = $3, deaths = $4 WHERE fingerprint = $1 AND deaths = '[]'
    RETURNING id, reason",
);
/// In the store, whatever became of one of its messages.
const WAITS: Text = Text::of("SELECT 1 FROM waiting WHERE order_id = $1 AND destination = $2 AND released_at IS NULL");

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
    let Some(fingerprint) = free(sql, letter).await? else { return witnessed(sql, letter).await };
    let end = match end(sql, letter, now).await? {
        Found::End(end) => end,
        Found::Open => return Ok(Collection::Waiting),
        Found::Elsewhere => return Ok(Collection::Known),
    };
    // Its report may have been recorded at this moment.
    let Some(id) = insert(sql, fingerprint, letter, &end).await? else { return witnessed(sql, letter).await };
    if let Some(parent) = letter.parent {
        sql.end_redriven(parent, OutcomeStatus::DeadLettered).await?;
    }
    Ok(Collection::Stored { id, reason: end.reason, changed: end.changed })
}

/// It is stored already. If that was by its report, this is the first that comes from its queue.
async fn witnessed(sql: Sql<'_>, letter: &Collected) -> Result<Collection, Fault> {
    let Content { headers, properties, deaths, .. } = &letter.content;
    if deaths.is_empty() {
        return Ok(Collection::Known);
    }
    let fingerprint = letter.fingerprint.as_slice();
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.open_word(1, &Reason::ALL)?));
    let first =
        sql.first(WITNESSED, &[&fingerprint, &json(headers)?, &json(properties)?, &json(deaths)?], read).await?;
    Ok(first.map_or(Collection::Known, |(id, reason)| Collection::Stored { id, reason, changed: false }))
}

/// What became of the delivery of a dead letter.
enum Found {
    /// It has ended, or ends now.
    End(End),
    /// A report may still come.
    Open,
    /// It waits in the store: this message is a spare one.
    Elsewhere,
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

/// The end that the ledger has, or gets now.
async fn end(sql: Sql<'_>, letter: &Collected, now: Timestamp) -> Result<Found, Fault> {
    let destination = letter.origin.as_str();
    let ledger = match order_of(letter) {
        Some(order_id) => ended(sql, order_id, destination).await?,
        None => None,
    };
    let (reason, outcome) = match ending(letter, ledger, now) {
        Ending::Known(end) => return Ok(Found::End(end)),
        Ending::Open => return Ok(Found::Open),
        Ending::New(reason, outcome) => (reason, *outcome),
    };
    let order_id = outcome.order_id.0;
    if reason != Reason::Unreadable && sql.first(WAITS, &[&order_id, &destination], |_| Ok(())).await?.is_some() {
        return Ok(Found::Elsewhere);
    }
    sql.record(&outcome).await?;
    // The ledger also has the attempts of earlier deliveries.
    let entry = ended(sql, order_id, destination).await?.unwrap_or_else(|| (&outcome).into());
    Ok(Found::End(End {
        state: DeadLetterState::Dead,
        reason: reason.into(),
        entry: Some(Box::new(entry)),
        changed: true,
    }))
}

/// What the ledger has, if the delivery has ended.
async fn ended(sql: Sql<'_>, order_id: Uuid, destination: &str) -> Result<Option<LedgerEntry>, Fault> {
    let json = sql.first(ENDED, &[&order_id, &destination], |row| row.get::<String>(0)).await?;
    Ok(json.and_then(|json| match parse_entry(&json) {
        Ok(entry) => Some(entry),
        Err(fault) => {
            // It is written again: failing here would fail every dead letter of the transaction, again and again.
            tracing::error!(order_id = %OrderId(order_id), destination, %fault, "not taken from the ledger");
            None
        }
    }))
}

/// Returns the id under which it is stored, unless another producer has stored it.
async fn insert(sql: Sql<'_>, fingerprint: [u8; 32], letter: &Collected, end: &End) -> Result<Option<Uuid>, Fault> {
    let listed = Listed::new(letter, fingerprint, end, parent(sql, letter.parent).await?)?;
    let inserted = sql.execute(INSERT, &listed.values()).await?;
    Ok((inserted == 1).then_some(listed.id))
}

/// The dead letter that was sent again, if it is stored.
pub(super) async fn parent(sql: Sql<'_>, parent: Option<Uuid>) -> Result<Option<Parent>, Fault> {
    let Some(parent) = parent else { return Ok(None) };
    let read = |row: &Row<'_>| Ok(Parent { key_used_at: row.get(0)?, redrives: row.get(1)? });
    sql.first(PARENT, &[&parent], read).await
}
