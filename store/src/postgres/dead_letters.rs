//! Dead letters in Postgres.

mod collect;
mod list;

use std::sync::Arc;

use common::{event::now, order::OrderId};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

pub(super) use self::collect::{CORRECT, correct};
use super::{PostgresDesk, fault::Fault, session::Session};
use crate::{
    Answer, Archiving, Collected, Collection, Content, DeadLetter, DeadLetters, Filter, Group, Opened, State,
    dead_letters::stored::{Stored, link, parse},
};

/// Longest lineage that is followed, in each direction: a bound on one answer.
const MAX_LINEAGE: i64 = 500;

/// The columns are those of `stored::COLUMNS`: a statement is a text that stands still.
const ONE: &str = "
    SELECT id, order_id, destination, state, reason, status_code, error, failed_at, key_used_at, attempts,
        parent, redrives, archived_at, note
    FROM dead_letters WHERE id = $1";
const CONTENT: &str = "SELECT body, headers, properties, deaths FROM dead_letters WHERE id = $1";
const LINEAGE: &str = "
    WITH RECURSIVE
        earlier (id, parent, steps) AS (
            SELECT id, parent, 0::bigint FROM dead_letters WHERE id = $1
            UNION ALL
            SELECT d.id, d.parent, steps + 1 FROM dead_letters d JOIN earlier e ON d.id = e.parent WHERE steps < $2),
        later (id, steps) AS (
            SELECT id, 0::bigint FROM dead_letters WHERE parent = $1
            UNION ALL
            SELECT d.id, steps + 1 FROM dead_letters d JOIN later l ON d.parent = l.id WHERE steps < $2)
    SELECT id, state, reason, status_code, error, failed_at FROM dead_letters
    WHERE id IN (SELECT id FROM earlier UNION SELECT id FROM later) ORDER BY id";
const ARCHIVE: &str = "UPDATE dead_letters SET archived_at = $2, note = $3 WHERE id = $1 AND state = 'dead'";

impl DeadLetters for PostgresDesk {
    fn collect(&self, letters: Vec<Arc<Collected>>, now: Timestamp) -> Answer<'_, Vec<Collection>> {
        let letters: Arc<[_]> = letters.into();
        let collected = Arc::clone(&letters);
        let storing = self.transaction(move |session| {
            let letters = Arc::clone(&letters);
            Box::pin(async move { collect::collect(session, &letters, now).await })
        });
        Box::pin(async move {
            let collections = storing.await?;
            let changed = collections.iter().zip(collected.iter()).filter_map(|(collection, letter)| {
                let changed = matches!(collection, Collection::Stored { changed: true, .. });
                letter.identity.as_ref().filter(|_| changed).map(|identity| identity.order_id)
            });
            self.tell(&changed.collect::<Vec<OrderId>>());
            Ok(collections)
        })
    }

    fn dead_letters(&self, filter: Filter, before: Option<Uuid>, limit: u32) -> Answer<'_, Vec<DeadLetter>> {
        let filter = Arc::new(filter);
        self.ask(move |session| {
            let filter = Arc::clone(&filter);
            Box::pin(async move { list::letters(session, &filter, before, limit).await })
        })
    }

    fn dead_letter_groups(&self, filter: Filter, after: Option<Uuid>, limit: u32) -> Answer<'_, Vec<Group>> {
        let filter = Arc::new(filter);
        self.ask(move |session| {
            let filter = Arc::clone(&filter);
            Box::pin(async move { list::groups(session, &filter, after, limit).await })
        })
    }

    fn dead_letter(&self, id: Uuid) -> Answer<'_, Option<Opened>> {
        self.ask(move |session| Box::pin(opened(session, id)))
    }

    fn archive(&self, id: Uuid, note: Option<String>) -> Answer<'_, Archiving> {
        let (now, note) = (now(), Arc::new(note));
        self.transaction(move |session| {
            let note = Arc::clone(&note);
            Box::pin(async move { set_archived(session, id, Some(now), note.as_deref()).await })
        })
    }

    fn unarchive(&self, id: Uuid) -> Answer<'_, Archiving> {
        self.transaction(move |session| Box::pin(set_archived(session, id, None, None)))
    }
}

async fn opened(session: &Session, id: Uuid) -> Result<Option<Opened>, Fault> {
    let Some(letter) = one(session, id).await? else { return Ok(None) };
    // What came from the queue never changes, and a lineage only grows.
    let Some(row) = session.query_first(CONTENT, &[&id]).await? else { return Ok(None) };
    let content = Content {
        body: row.try_get(0)?,
        headers: parse(row.try_get(1)?)?,
        properties: parse(row.try_get(2)?)?,
        deaths: parse(row.try_get(3)?)?,
    };
    let mut lineage = Vec::new();
    for row in session.query(LINEAGE, &[&id, &MAX_LINEAGE]).await? {
        let (status_code, error, failed_at) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        lineage.push(link((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, status_code, error, failed_at))?);
    }
    Ok(Some(Opened { letter, content, lineage }))
}

async fn set_archived(
    session: &Session,
    id: Uuid,
    at: Option<Timestamp>,
    note: Option<&str>,
) -> Result<Archiving, Fault> {
    let changed = session.execute(ARCHIVE, &[&id, &at.map(Timestamp::as_microsecond), &note]).await?;
    let Some(letter) = one(session, id).await? else { return Ok(Archiving::Unknown) };
    if changed == 0 && letter.state != State::Dead {
        return Ok(Archiving::Elsewhere(letter.state));
    }
    Ok(Archiving::Done(Box::new(letter)))
}

/// One without its content.
pub(super) async fn one(session: &Session, id: Uuid) -> Result<Option<DeadLetter>, Fault> {
    let row = session.query_first(ONE, &[&id]).await?;
    Ok(row.as_ref().map(stored).transpose()?.map(Stored::letter).transpose()?)
}

/// Reads a row of `stored::COLUMNS`.
fn stored(row: &Row) -> Result<Stored, Fault> {
    Ok(Stored {
        id: row.try_get(0)?,
        order_id: row.try_get(1)?,
        destination: row.try_get(2)?,
        state: row.try_get(3)?,
        reason: row.try_get(4)?,
        status_code: row.try_get(5)?,
        error: row.try_get(6)?,
        failed_at: row.try_get(7)?,
        key_used_at: row.try_get(8)?,
        attempts: row.try_get(9)?,
        parent: row.try_get(10)?,
        redrives: row.try_get(11)?,
        archived_at: row.try_get(12)?,
        note: row.try_get(13)?,
    })
}
