//! Lists and groups of dead letters: both look at an index alone, whatever the filter.

use common::origin::Origin;
use rusqlite::{Connection, OptionalExtension as _, ToSql, params_from_iter};
use uuid::Uuid;

use super::stored;
use crate::{
    DeadLetter, Filter, Group, StoreFault,
    columns::parse_origin,
    dead_letters::stored::{COLUMNS, containing, reason, time},
};

/// A condition on dead letters, with its values in the order of their marks.
pub(in super::super) struct Condition {
    pub(in super::super) sql: String,
    pub(in super::super) values: Vec<Box<dyn ToSql>>,
}

impl Condition {
    /// Those that wait for somebody and pass the filter. The first condition is the one of the indexes.
    pub(in super::super) fn of(filter: &Filter) -> Self {
        let mut this = Self { sql: "state = 'dead'".to_owned(), values: Vec::new() };
        let Filter { destination, reason, status_code, error, order_id, from, to, archived } = filter;
        this.sql.push_str(if *archived { " AND archived_at IS NOT NULL" } else { " AND archived_at IS NULL" });
        this.and("destination = ?", destination.as_ref().map(Origin::to_string));
        // The sign keeps the planner from leaving the order of the index, where a column is the same in all rows.
        this.and("+reason = ?", reason.map(common::outcome::Reason::as_str));
        this.and("+status_code = ?", *status_code);
        this.and(r"error LIKE ? ESCAPE '\'", error.as_deref().map(containing));
        this.and("order_id = ?", order_id.map(|order_id| order_id.0));
        this.and("failed_at >= ?", from.map(jiff::Timestamp::as_microsecond));
        this.and("failed_at < ?", to.map(jiff::Timestamp::as_microsecond));
        this
    }

    /// Adds one, if there is a value for its mark.
    pub(in super::super) fn and(&mut self, sql: &str, value: Option<impl ToSql + 'static>) {
        if let Some(value) = value {
            self.sql.push_str(" AND ");
            self.sql.push_str(sql);
            self.values.push(Box::new(value));
        }
    }
}

/// The statement of a list. An order has few dead letters: they are found by it, all others in the
/// order of the list.
pub(super) fn letters_sql(condition: &Condition, by_order: bool) -> String {
    let index = if by_order { "dead_letters_by_order" } else { "dead_letters_listed" };
    format!(
        "SELECT {COLUMNS} FROM dead_letters WHERE id IN
             (SELECT id FROM dead_letters INDEXED BY {index} WHERE {} ORDER BY id DESC LIMIT ?)
         ORDER BY id DESC",
        condition.sql
    )
}

pub(super) fn letters(
    connection: &Connection,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<DeadLetter>, StoreFault> {
    let mut condition = Condition::of(filter);
    condition.and("id < ?", before);
    let sql = letters_sql(&condition, filter.order_id.is_some());
    condition.values.push(Box::new(limit));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(condition.values), stored)?;
    rows.map(|row| row?.letter()).collect()
}

/// What makes a group, comparable also where there is none.
const CAUSE: &str = "destination, reason, ifnull(status_code, -1), ifnull(error, '')";

pub(super) fn groups_sql(condition: &Condition) -> String {
    format!(
        "SELECT destination, reason, status_code, error, count(*), min(failed_at), max(failed_at), max(id)
         FROM dead_letters INDEXED BY dead_letters_grouped WHERE {}
         GROUP BY destination, reason, status_code, error
         ORDER BY destination, reason, status_code, error LIMIT ?",
        condition.sql
    )
}

type Cause = (String, String, i64, String);

pub(super) fn groups(
    connection: &Connection,
    filter: &Filter,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Group>, StoreFault> {
    let mut condition = Condition::of(filter);
    if let Some(after) = after {
        let cause: Option<Cause> = connection
            .prepare_cached(&format!("SELECT {CAUSE} FROM dead_letters WHERE id = ?1"))?
            .query_row([after], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        // Removed meanwhile, with all that was sent again long ago: the list begins anew.
        if let Some((destination, reason, status_code, error)) = cause {
            condition.sql.push_str(&format!(" AND ({CAUSE}) > (?, ?, ?, ?)"));
            let values: [Box<dyn ToSql>; 4] =
                [Box::new(destination), Box::new(reason), Box::new(status_code), Box::new(error)];
            condition.values.extend(values);
        }
    }
    let sql = groups_sql(&condition);
    condition.values.push(Box::new(limit));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(condition.values), |row| {
        let words: (String, String) = (row.get(0)?, row.get(1)?);
        let cause: (Option<u16>, Option<String>) = (row.get(2)?, row.get(3)?);
        let numbers: (i64, i64, i64) = (row.get(4)?, row.get(5)?, row.get(6)?);
        Ok((words, cause, numbers, row.get::<_, Uuid>(7)?))
    })?;
    rows.map(|row| {
        let ((destination, word), (status_code, error), (count, first, last), sample_id) = row?;
        let (first_failed_at, last_failed_at) = (time(first)?, time(last)?);
        let (origin, reason, count) = (parse_origin(&destination)?, reason(&word)?, super::super::unsigned(count));
        Ok(Group { origin, reason, status_code, error, count, first_failed_at, last_failed_at, sample_id })
    })
    .collect()
}
