//! Lists and groups of dead letters. A part of a filter that is not given is null.

use common::word::Word;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use uuid::Uuid;

use super::session::Session;
use crate::{
    Filter, LedgerEntry,
    columns::json,
    desk::{FilterValues, INSERT, Listed},
    fault::Fault,
    rules::{Died, corrected_state, last_answer, last_error, last_status},
    sql::{Row, Sql, Text, Value},
};

/// The inner part looks at an index alone: rows are wide.
const LETTERS: Text = Text::of(
    r"
    SELECT id, order_id, destination, state, reason, status_code, error, failed_at, key_used_at, attempts,
        parent, redrives, archived_at, note
    FROM dead_letters WHERE id IN (
        SELECT id FROM dead_letters
        WHERE state = 'dead' AND (archived_at IS NOT NULL) = $1
            AND ($2::text IS NULL OR destination = $2) AND ($3::text IS NULL OR reason = $3)
            AND ($4::integer IS NULL OR status_code = $4) AND ($5::text IS NULL OR error ILIKE $5)
            AND ($6::uuid IS NULL OR order_id = $6) AND ($7::bigint IS NULL OR failed_at >= $7)
            AND ($8::bigint IS NULL OR failed_at < $8) AND ($9::uuid IS NULL OR id < $9)
        ORDER BY id DESC LIMIT $10)
    ORDER BY id DESC",
);

const GROUPS: Text = Text::of(
    r#"
    SELECT destination, reason, status_code, error, answer, count(*), min(failed_at), max(failed_at), max(id::text)::uuid
    FROM dead_letters
    WHERE state = 'dead' AND (archived_at IS NOT NULL) = $1
        AND ($2::text IS NULL OR destination = $2) AND ($3::text IS NULL OR reason = $3)
        AND ($4::integer IS NULL OR status_code = $4) AND ($5::text IS NULL OR error ILIKE $5)
        AND ($6::uuid IS NULL OR order_id = $6) AND ($7::bigint IS NULL OR failed_at >= $7)
        AND ($8::bigint IS NULL OR failed_at < $8)
        AND ($9::text IS NULL OR (destination COLLATE "C", reason COLLATE "C", coalesce(status_code, -1), coalesce(error, '') COLLATE "C",
                coalesce(answer, '') COLLATE "C")
            > ($9, $10::text, $11::integer, $12::text, $13::text))
    GROUP BY destination, reason, status_code, error, answer
    ORDER BY destination COLLATE "C", reason COLLATE "C", status_code NULLS FIRST, error COLLATE "C" NULLS FIRST,
        answer COLLATE "C" NULLS FIRST
    LIMIT $14"#,
);

/// What makes a group: destination, reason, status, error and answer.
type Cause = (Option<String>, Option<String>, Option<i32>, Option<String>, Option<String>);

const CAUSE: Text = Text::of(
    "SELECT destination, reason, coalesce(status_code, -1), coalesce(error, ''), coalesce(answer, '') FROM dead_letters WHERE id = $1",
);

/// By the index of an order's dead letters; few orders have any.
pub(super) const CORRECT: &str = "
    UPDATE dead_letters
    SET state = new.state, reason = coalesce(new.reason, dead_letters.reason), status_code = new.status_code,
        error = coalesce(new.error, dead_letters.error), failed_at = coalesce(new.failed_at, dead_letters.failed_at),
        attempts = new.attempts, answer = new.answer
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::bigint[], $8::text[],
        $9::text[])
        AS new (order_id, destination, state, reason, status_code, error, failed_at, attempts, answer)
    WHERE dead_letters.order_id = new.order_id AND dead_letters.destination = new.destination
        AND dead_letters.state = 'dead' AND dead_letters.reason <> 'unreadable'";

pub(crate) async fn letters<T>(
    session: &Session,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let (filter, limit) = (FilterValues::of(filter), i64::from(limit));
    let mut values = filter.all().to_vec();
    values.extend([&before as &dyn Value, &limit]);
    Sql::Postgres(session).all(LETTERS, &values, read).await
}

pub(crate) async fn groups<T>(
    session: &Session,
    filter: &Filter,
    after: Option<Uuid>,
    limit: u32,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let (sql, filter, limit) = (Sql::Postgres(session), FilterValues::of(filter), i64::from(limit));
    let cause: Cause = match after {
        Some(after) => {
            let cause_of = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
            sql.first(CAUSE, &[&after], cause_of).await?.unwrap_or_default()
        }
        None => Default::default(),
    };
    let mut values = filter.all().to_vec();
    values.extend([&cause.0 as &dyn Value, &cause.1, &cause.2, &cause.3, &cause.4, &limit]);
    sql.all(GROUPS, &values, read).await
}

/// A report that came after its dead letter says more than could be known then.
pub(super) async fn correct(session: &Session, truths: &[LedgerEntry]) -> Result<(), Fault> {
    let order_ids: Vec<_> = truths.iter().map(|truth| truth.order_id.0).collect();
    let destinations: Vec<_> = truths.iter().map(|truth| truth.destination.as_str()).collect();
    let states: Vec<_> = truths.iter().map(|truth| corrected_state(truth).as_str()).collect();
    let reasons: Vec<_> = truths.iter().map(|truth| truth.reason.as_ref().map(Word::as_str)).collect();
    let codes: Vec<_> = truths.iter().map(|truth| last_status(&truth.attempts)).collect();
    let errors: Vec<_> = truths.iter().map(|truth| last_error(&truth.attempts)).collect();
    let times: Vec<_> = truths.iter().map(|truth| truth.settled_at.map(Timestamp::as_microsecond)).collect();
    let attempts: Vec<_> = truths.iter().map(|truth| json(&truth.attempts)).collect::<Result<_, _>>()?;
    let answers: Vec<_> = truths.iter().map(|truth| last_answer(&truth.attempts)).collect();
    session
        .execute(CORRECT, &[&order_ids, &destinations, &states, &reasons, &codes, &errors, &times, &attempts, &answers])
        .await?;
    Ok(())
}

/// Lists what has become a dead letter. One that its queue has brought already is not listed again.
pub(super) async fn list(session: &Session, died: Vec<Died>) -> Result<(), Fault> {
    if died.is_empty() {
        return Ok(());
    }
    let sql = Sql::Postgres(session);
    // Polled together, they go over the wire together.
    let found = try_join_all(died.iter().map(async |died| {
        let (text, id) = died.question();
        sql.first(text, &[&id], |row| died.read(row)).await
    }));
    let found = found.await?;
    let mut listed = Vec::with_capacity(died.len());
    for (died, found) in died.into_iter().zip(found) {
        listed.extend(Listed::died(died, found)?);
    }
    try_join_all(listed.iter().map(async |listed| sql.execute(INSERT, &listed.values()).await)).await?;
    Ok(())
}
