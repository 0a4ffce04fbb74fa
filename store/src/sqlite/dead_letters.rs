//! Dead letters in SQLite.

mod collect;
mod list;

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use uuid::Uuid;

pub(super) use self::{collect::correct, list::Condition};
use super::SqliteDesk;
use crate::{
    Answer, Archiving, Collected, Collection, Content, DeadLetter, DeadLetters, Filter, Group, Link, Opened, State,
    StoreFault,
    dead_letters::stored::{COLUMNS, Stored, link, parse},
};

/// Longest lineage that is followed, in each direction: a bound on one answer.
const MAX_LINEAGE: u32 = 500;

impl DeadLetters for SqliteDesk {
    fn collect(&self, letters: Vec<Arc<Collected>>, now: Timestamp) -> Answer<'_, Vec<Collection>> {
        self.ask(move |connection| collect::collect(connection, &letters, now))
    }

    fn dead_letters(&self, filter: Filter, before: Option<Uuid>, limit: u32) -> Answer<'_, Vec<DeadLetter>> {
        self.ask(move |connection| list::letters(connection, &filter, before, limit))
    }

    fn dead_letter_groups(&self, filter: Filter, after: Option<Uuid>, limit: u32) -> Answer<'_, Vec<Group>> {
        self.ask(move |connection| list::groups(connection, &filter, after, limit))
    }

    fn dead_letter(&self, id: Uuid) -> Answer<'_, Option<Opened>> {
        self.ask(move |connection| opened(connection, id))
    }

    fn archive(&self, id: Uuid, note: Option<String>) -> Answer<'_, Archiving> {
        let now = common::event::now();
        self.ask(move |connection| set_archived(connection, id, Some(now), note.as_deref()))
    }

    fn unarchive(&self, id: Uuid) -> Answer<'_, Archiving> {
        self.ask(move |connection| set_archived(connection, id, None, None))
    }
}

fn opened(connection: &mut Connection, id: Uuid) -> Result<Option<Opened>, StoreFault> {
    // One read transaction, so that the lineage is of the same moment.
    let transaction = connection.transaction()?;
    let row = transaction
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, body, headers, properties, deaths FROM dead_letters WHERE id = ?1"
        ))?
        .query_row(params![id], |row| {
            let texts: [String; 3] = [row.get("headers")?, row.get("properties")?, row.get("deaths")?];
            Ok((stored(row)?, row.get::<_, Vec<u8>>("body")?, texts))
        })
        .optional()?;
    let Some((row, body, [headers, properties, deaths])) = row else { return Ok(None) };
    let content = Content { body, headers: parse(&headers)?, properties: parse(&properties)?, deaths: parse(&deaths)? };
    Ok(Some(Opened { letter: row.letter()?, content, lineage: lineage(&transaction, id)? }))
}

/// Ids of a lineage ascend: each is recorded after the one that was sent again.
fn lineage(connection: &Connection, id: Uuid) -> Result<Vec<Link>, StoreFault> {
    let mut statement = connection.prepare_cached(
        "WITH RECURSIVE
             earlier (id, parent, steps) AS (
                 SELECT id, parent, 0 FROM dead_letters WHERE id = ?1
                 UNION ALL
                 SELECT d.id, d.parent, steps + 1 FROM dead_letters d JOIN earlier e ON d.id = e.parent WHERE steps < ?2),
             later (id, steps) AS (
                 SELECT id, 0 FROM dead_letters WHERE parent = ?1
                 UNION ALL
                 SELECT d.id, steps + 1 FROM dead_letters d JOIN later l ON d.parent = l.id WHERE steps < ?2)
         SELECT id, state, reason, status_code, error, failed_at FROM dead_letters
         WHERE id IN (SELECT id FROM earlier UNION SELECT id FROM later) ORDER BY id",
    )?;
    let rows = statement.query_map(params![id, MAX_LINEAGE], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    })?;
    rows.map(|row| link(row?)).collect()
}

fn set_archived(
    connection: &mut Connection,
    id: Uuid,
    at: Option<Timestamp>,
    note: Option<&str>,
) -> Result<Archiving, StoreFault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = one(&transaction, id)?;
    let Some(mut letter) = found else { return Ok(Archiving::Unknown) };
    if letter.state != State::Dead {
        return Ok(Archiving::Elsewhere(letter.state));
    }
    transaction
        .prepare_cached("UPDATE dead_letters SET archived_at = ?2, note = ?3 WHERE id = ?1")?
        .execute(params![id, at.map(Timestamp::as_microsecond), note])?;
    transaction.commit()?;
    letter.archived_at = at;
    letter.note = note.map(str::to_owned);
    Ok(Archiving::Done(Box::new(letter)))
}

/// One without its content.
pub(super) fn one(connection: &Connection, id: Uuid) -> Result<Option<DeadLetter>, StoreFault> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM dead_letters WHERE id = ?1"))?
        .query_row(params![id], stored)
        .optional()?
        .map(Stored::letter)
        .transpose()
}

/// Reads a row of [`COLUMNS`].
fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        order_id: row.get(1)?,
        destination: row.get(2)?,
        state: row.get(3)?,
        reason: row.get(4)?,
        status_code: row.get(5)?,
        error: row.get(6)?,
        failed_at: row.get(7)?,
        key_used_at: row.get(8)?,
        attempts: row.get(9)?,
        parent: row.get(10)?,
        redrives: row.get(11)?,
        archived_at: row.get(12)?,
        note: row.get(13)?,
    })
}

#[cfg(test)]
mod tests;
