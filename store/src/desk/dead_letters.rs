//! Dead letters as operators see them.

use common::{event::now, order::OrderId, origin::Origin, outcome::Reason, status::DeadLetterState, word::Word};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Desk, page::Page};
use crate::{
    Archiving, Content, DeadLetter, DeadLetterDetails, Filter, Group, Link, StoreFault,
    fault::Fault,
    postgres,
    sql::{Row, Sql, Text, Value},
    sqlite,
};

/// Longest lineage that is followed, in each direction: a bound on one answer.
const MAX_LINEAGE: i64 = 500;

/// The column of a group with the dead letter that was stored last.
const SAMPLE: usize = 8;

/// The columns are those that [`letter`] reads.
const LETTER: Text = Text::of(
    "
    SELECT id, order_id, destination, state, reason, status_code, error, failed_at, key_used_at, attempts,
        parent, redrives, archived_at, note
    FROM dead_letters WHERE id = $1",
);
const CONTENT: Text = Text::of("SELECT body, headers, properties, deaths FROM dead_letters WHERE id = $1");
/// Ids of a lineage ascend: each is stored after the one that was sent again.
const LINEAGE: Text = Text::of(
    "
    WITH RECURSIVE
        earlier (id, parent, steps) AS (
            SELECT id, parent, CAST(0 AS bigint) FROM dead_letters WHERE id = $1
            UNION ALL
            SELECT d.id, d.parent, steps + 1 FROM dead_letters d JOIN earlier e ON d.id = e.parent WHERE steps < $2),
        later (id, steps) AS (
            SELECT id, CAST(0 AS bigint) FROM dead_letters WHERE parent = $1
            UNION ALL
            SELECT d.id, steps + 1 FROM dead_letters d JOIN later l ON d.parent = l.id WHERE steps < $2)
    SELECT id, state, reason, status_code, error, failed_at FROM dead_letters
    WHERE id IN (SELECT id FROM earlier UNION SELECT id FROM later) ORDER BY id",
);
const ARCHIVE: Text = Text::of("UPDATE dead_letters SET archived_at = $2, note = $3 WHERE id = $1 AND state = 'dead'");

impl Desk {
    /// Dead letters that match, the last stored first: those before `before`, at most `limit`.
    pub async fn dead_letters(
        &self,
        filter: Filter,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreFault> {
        let unreadable = self.unreadable.clone();
        let list = async move |sql: Sql<'_>| {
            let read = |row: &Row<'_>| Ok((row.get(0)?, unreadable.left_out(letter(row))));
            let mut page = Page::new(before, limit);
            while page.missing > 0 {
                page.add(match sql {
                    Sql::Sqlite(connection) => {
                        sqlite::dead_letters::letters(connection, &filter, page.after, page.missing, read)?
                    }
                    Sql::Postgres(session) => {
                        postgres::dead_letters::letters(session, &filter, page.after, page.missing, read).await?
                    }
                });
            }
            Ok(page.found)
        };
        self.operators.read(list).await
    }

    /// The same, counted by origin and cause, in the order of these: those after the group that has (or had)
    /// the dead letter `after`, at most `limit`. The list begins again if that one is not stored any more.
    pub async fn dead_letter_groups(
        &self,
        filter: Filter,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Group>, StoreFault> {
        let unreadable = self.unreadable.clone();
        let list = async move |sql: Sql<'_>| {
            let read = |row: &Row<'_>| Ok((row.get(SAMPLE)?, unreadable.left_out(group(row))));
            let mut page = Page::new(after, limit);
            while page.missing > 0 {
                page.add(match sql {
                    Sql::Sqlite(connection) => {
                        sqlite::dead_letters::groups(connection, &filter, page.after, page.missing, read)?
                    }
                    Sql::Postgres(session) => {
                        postgres::dead_letters::groups(session, &filter, page.after, page.missing, read).await?
                    }
                });
            }
            Ok(page.found)
        };
        self.operators.read(list).await
    }

    /// A dead letter with everything, whatever its state.
    pub async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetterDetails>, StoreFault> {
        self.operators.read(async move |sql| details(sql, id).await).await
    }

    /// Archives a dead letter with a note: it leaves the list, and stays dead.
    pub async fn archive(&self, id: Uuid, note: Option<String>) -> Result<Archiving, StoreFault> {
        let now = now();
        self.operators.write(async move |sql| set_archived(sql, id, Some(now), note.as_deref()).await).await
    }

    /// Puts an archived dead letter back into the list.
    pub async fn unarchive(&self, id: Uuid) -> Result<Archiving, StoreFault> {
        self.operators.write(async move |sql| set_archived(sql, id, None, None).await).await
    }
}

async fn details(sql: Sql<'_>, id: Uuid) -> Result<Option<DeadLetterDetails>, Fault> {
    let Some(letter) = one(sql, id).await? else { return Ok(None) };
    // What came from the queue never changes, and a lineage only grows.
    let Some(content) = sql.first(CONTENT, &[&id], content).await? else { return Ok(None) };
    let lineage = sql.all(LINEAGE, &[&id, &MAX_LINEAGE], link).await?;
    Ok(Some(DeadLetterDetails { letter, content, lineage }))
}

async fn set_archived(sql: Sql<'_>, id: Uuid, at: Option<Timestamp>, note: Option<&str>) -> Result<Archiving, Fault> {
    let changed = sql.execute(ARCHIVE, &[&id, &at.map(Timestamp::as_microsecond), &note]).await?;
    let Some(letter) = one(sql, id).await? else { return Ok(Archiving::Unknown) };
    if changed == 0 {
        return Ok(Archiving::Elsewhere(letter.state));
    }
    Ok(Archiving::Done(Box::new(letter)))
}

/// A dead letter without its content.
pub(super) async fn one(sql: Sql<'_>, id: Uuid) -> Result<Option<DeadLetter>, Fault> {
    sql.first(LETTER, &[&id], letter).await
}

/// The values of a filter; what is not given is null.
pub(crate) struct FilterValues<'a> {
    pub(crate) archived: bool,
    pub(crate) destination: Option<&'a str>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) status_code: Option<i32>,
    /// A pattern for LIKE, with the escape `\`.
    pub(crate) error: Option<String>,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) from: Option<i64>,
    pub(crate) to: Option<i64>,
}

impl<'a> FilterValues<'a> {
    pub(crate) fn of(filter: &'a Filter) -> Self {
        Self {
            archived: filter.archived,
            destination: filter.destination.as_ref().map(Origin::as_str),
            reason: filter.reason.as_ref().map(Word::as_str),
            status_code: filter.status_code.map(i32::from),
            error: filter.error.as_deref().map(containing),
            order_id: filter.order_id.map(|order_id| order_id.0),
            from: filter.from.map(Timestamp::as_microsecond),
            to: filter.to.map(Timestamp::as_microsecond),
        }
    }

    /// All of them, as the first parameters of a statement.
    pub(crate) fn all(&self) -> [&dyn Value; 8] {
        let Self { archived, destination, reason, status_code, error, order_id, from, to } = self;
        [archived, destination, reason, status_code, error, order_id, from, to]
    }
}

/// A pattern that any text with this part matches.
fn containing(part: &str) -> String {
    let mut pattern = String::with_capacity(part.len() + 2);
    pattern.push('%');
    for c in part.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn letter(row: &Row<'_>) -> Result<DeadLetter, Fault> {
    Ok(DeadLetter {
        id: row.get(0)?,
        order_id: row.get::<Option<Uuid>>(1)?.map(OrderId),
        origin: row.origin(2)?,
        state: row.word(3, &DeadLetterState::ALL)?,
        reason: row.open_word(4, &Reason::ALL)?,
        status_code: row.status_code(5)?,
        error: row.get(6)?,
        failed_at: row.time(7)?,
        key_used_at: row.time_if_any(8)?,
        attempts: row.attempts(9)?,
        parent: row.get(10)?,
        redrives: u32::try_from(row.get::<i64>(11)?).unwrap_or(u32::MAX),
        archived_at: row.time_if_any(12)?,
        note: row.get(13)?,
    })
}

fn group(row: &Row<'_>) -> Result<Group, Fault> {
    Ok(Group {
        origin: row.origin(0)?,
        reason: row.open_word(1, &Reason::ALL)?,
        status_code: row.status_code(2)?,
        error: row.get(3)?,
        answer: row.get(4)?,
        count: row.count(5)?,
        first_failed_at: row.time(6)?,
        last_failed_at: row.time(7)?,
        sample_id: row.get(SAMPLE)?,
    })
}

fn content(row: &Row<'_>) -> Result<Content, Fault> {
    Ok(Content { body: row.get(0)?, headers: row.json(1)?, properties: row.json(2)?, deaths: row.json(3)? })
}

fn link(row: &Row<'_>) -> Result<Link, Fault> {
    Ok(Link {
        id: row.get(0)?,
        state: row.word(1, &DeadLetterState::ALL)?,
        reason: row.open_word(2, &Reason::ALL)?,
        status_code: row.status_code(3)?,
        error: row.get(4)?,
        failed_at: row.time(5)?,
    })
}
