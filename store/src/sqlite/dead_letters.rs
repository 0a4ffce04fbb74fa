//! Lists and groups of dead letters: both look at an index alone, whatever the filter.

use std::ops::ControlFlow;

use common::word::Word;
use jiff::Timestamp;
use rusqlite::params;
use uuid::Uuid;

use super::{
    Connection,
    connection::{each, execute},
};
use crate::{
    Filter, LedgerEntry, StoreFault,
    columns::json,
    desk::{FilterValues, INSERT, Listed},
    fault::Fault,
    rules::{Died, corrected_state, last_answer, last_error, last_status},
    sql::{Row, Value},
};

/// A condition on dead letters, with its values in the order of their marks.
struct Condition<'a> {
    sql: String,
    values: Vec<&'a dyn Value>,
}

impl<'a> Condition<'a> {
    /// Those that are dead and match the filter. The first condition is the one of the indexes.
    fn of(filter: &'a FilterValues<'_>) -> Self {
        let mut this = Self { sql: "state = 'dead'".to_owned(), values: Vec::new() };
        let FilterValues { archived, destination, reason, status_code, error, order_id, from, to } = filter;
        this.sql.push_str(if *archived { " AND archived_at IS NOT NULL" } else { " AND archived_at IS NULL" });
        this.and("destination = ?", destination);
        // The sign keeps the planner from leaving the order of the index, where a column is the same in all rows.
        this.and("+reason = ?", reason);
        this.and("+status_code = ?", status_code);
        this.and(r"error LIKE ? ESCAPE '\'", error);
        this.and("order_id = ?", order_id);
        this.and("failed_at >= ?", from);
        this.and("failed_at < ?", to);
        this
    }

    /// Adds one, if there is a value for its mark.
    fn and(&mut self, sql: &str, value: &'a Option<impl Value>) {
        if let Some(value) = value {
            self.sql.push_str(" AND ");
            self.sql.push_str(sql);
            self.values.push(value);
        }
    }
}

/// The statement of a list. An order has few dead letters: they are found by it, all others in the
/// order of the list.
fn letters_sql(condition: &Condition<'_>, by_order: bool) -> String {
    let index = if by_order { "dead_letters_by_order" } else { "dead_letters_listed" };
    format!(
        "SELECT id, order_id, destination, state, reason, status_code, error, failed_at, key_used_at, attempts,
             parent, redrives, archived_at, note
         FROM dead_letters WHERE id IN
             (SELECT id FROM dead_letters INDEXED BY {index} WHERE {} ORDER BY id DESC LIMIT ?)
         ORDER BY id DESC",
        condition.sql
    )
}

pub(crate) fn letters<T>(
    connection: &Connection,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let (filter, limit) = (FilterValues::of(filter), i64::from(limit));
    let mut condition = Condition::of(&filter);
    condition.and("id < ?", &before);
    condition.values.push(&limit);
    all(connection, &letters_sql(&condition, filter.order_id.is_some()), &condition.values, read)
}

/// What makes a group, comparable also where a part of it is missing.
const CAUSE: &str = "destination, reason, ifnull(status_code, -1), ifnull(error, ''), ifnull(answer, '')";

fn groups_sql(condition: &Condition<'_>) -> String {
    format!(
        "SELECT destination, reason, status_code, error, answer, count(*), min(failed_at), max(failed_at), max(id)
         FROM dead_letters INDEXED BY dead_letters_grouped WHERE {}
         GROUP BY destination, reason, status_code, error, answer
         ORDER BY destination, reason, status_code, error, answer LIMIT ?",
        condition.sql
    )
}

pub(crate) fn groups<T>(
    connection: &Connection,
    filter: &Filter,
    after: Option<Uuid>,
    limit: u32,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let (filter, limit) = (FilterValues::of(filter), i64::from(limit));
    let mut condition = Condition::of(&filter);
    let cause: (String, String, i64, String, String);
    if let Some(after) = after {
        let sql = format!("SELECT {CAUSE} FROM dead_letters WHERE id = ?");
        let cause_of = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
        if let Some(found) = all(connection, &sql, &[&after], cause_of)?.pop() {
            cause = found;
            condition.sql.push_str(&format!(" AND ({CAUSE}) > (?, ?, ?, ?, ?)"));
            condition.values.extend([&cause.0 as &dyn Value, &cause.1, &cause.2, &cause.3, &cause.4]);
        }
    }
    condition.values.push(&limit);
    all(connection, &groups_sql(&condition), &condition.values, read)
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn Value],
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut all = Vec::new();
    connection.each(sql, values, |row| {
        all.push(read(row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(all)
}

/// A report that came after its dead letter says more than could be known then.
pub(super) fn correct(connection: &rusqlite::Connection, truth: &LedgerEntry) -> Result<(), StoreFault> {
    connection
        .prepare_cached(
            "UPDATE dead_letters SET state = ?3, reason = ifnull(?4, reason), status_code = ?5, error = ifnull(?6, error),
                 failed_at = ifnull(?7, failed_at), attempts = ?8, answer = ?9
             WHERE order_id = ?1 AND destination = ?2 AND state = 'dead' AND reason <> 'unreadable'",
        )?
        .execute(params![
            truth.order_id.0,
            truth.destination.as_str(),
            corrected_state(truth).as_str(),
            truth.reason.as_ref().map(Word::as_str),
            last_status(&truth.attempts),
            last_error(&truth.attempts),
            truth.settled_at.map(Timestamp::as_microsecond),
            json(&truth.attempts)?,
            last_answer(&truth.attempts),
        ])?;
    Ok(())
}

/// Lists what has become a dead letter. One that its queue has brought already is not listed again.
pub(super) fn list(connection: &rusqlite::Connection, died: Vec<Died>) -> Result<(), Fault> {
    for died in died {
        let (text, id) = died.question();
        let mut found = None;
        each(connection, text.sqlite, &[&id], |row| {
            found = Some(died.read(row)?);
            Ok(ControlFlow::Break(()))
        })?;
        if let Some(listed) = Listed::died(died, found)? {
            execute(connection, INSERT.sqlite, &listed.values())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
