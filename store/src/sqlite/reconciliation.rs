//! Reconciliation in SQLite.

use std::time::Duration;

use common::{destination::Name, order::OrderId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, ToSql, TransactionBehavior, params};
use uuid::Uuid;

use super::{SqliteDesk, names};
use crate::{
    Answer, Found, Mark, OutboxEntry, Overdue, Reconciliation, StoreFault,
    columns::{signed, unsigned},
    dead_letters::stored::time,
};

impl Reconciliation for SqliteDesk {
    fn published_marks(&self) -> Answer<'_, Vec<Mark>> {
        self.ask(|connection| {
            let up_to: i64 = connection.query_row("SELECT published_up_to FROM line", [], |row| row.get(0))?;
            Ok(vec![Mark { line: Uuid::nil(), up_to: unsigned(up_to) }])
        })
    }

    fn pending_published(&self, destination: Name, marks: Vec<Mark>, limit: u32) -> Answer<'_, Found> {
        self.ask(move |connection| {
            let up_to = marks.first().map_or(0, |mark| signed(mark.up_to));
            const WHERE: &str = "FROM pending WHERE place <= ?1 AND instr(',' || open || ',', ',' || ?2 || ',') > 0
                 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.order_id = pending.order_id
                     AND destination = ?2 AND status = 'pending')";
            let total = count(connection, &format!("SELECT count(*) {WHERE}"), &[&up_to, &destination.as_str()])?;
            let rows = format!(
                "SELECT order_id, created_at, NULL FROM orders JOIN (SELECT order_id, place {WHERE} ORDER BY place LIMIT ?3)
                 USING (order_id) ORDER BY place"
            );
            let overdue = overdue(connection, &rows, &[&up_to, &destination.as_str(), &limit], &destination)?;
            Ok(Found { overdue, total })
        })
    }

    fn pending_unpublished(&self, accepted_before: Timestamp, limit: u32) -> Answer<'_, Found> {
        self.ask(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT order_id, created_at, open FROM pending JOIN orders USING (order_id)
                 WHERE place > (SELECT published_up_to FROM line) AND created_at < ?1 ORDER BY place",
            )?;
            let rows = statement.query_map(params![accepted_before.as_microsecond()], |row| {
                Ok((row.get::<_, Uuid>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
            })?;
            let mut found = Found::default();
            for row in rows {
                let (order_id, at, open) = row?;
                for destination in names(&open)? {
                    found.total += 1;
                    if found.total <= u64::from(limit) {
                        let order_id = Some(OrderId(order_id));
                        found.overdue.push(Overdue { order_id, destination, since: time(at)?, dead_letter: None });
                    }
                }
            }
            Ok(found)
        })
    }

    fn pending_redriven(&self, destination: Name, sent_before: Timestamp, limit: u32) -> Answer<'_, Found> {
        self.ask(move |connection| {
            let before = sent_before.as_microsecond();
            const WHERE: &str = "FROM redrive_items JOIN dead_letters ON dead_letters.id = dead_letter
                 WHERE redrive_items.state = 'sent' AND sent_at < ?1 AND destination = ?2";
            let total = count(connection, &format!("SELECT count(*) {WHERE}"), &[&before, &destination.as_str()])?;
            let rows = format!("SELECT order_id, sent_at, dead_letter {WHERE} ORDER BY sent_at LIMIT ?3");
            let overdue = overdue(connection, &rows, &[&before, &destination.as_str(), &limit], &destination)?;
            Ok(Found { overdue, total })
        })
    }

    fn events_of(&self, order_ids: Vec<OrderId>) -> Answer<'_, Vec<OutboxEntry>> {
        self.ask(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT event, traceparent FROM orders WHERE order_id = ?1")?;
            let mut entries = Vec::with_capacity(order_ids.len());
            for order_id in order_ids {
                let found: Option<(Vec<u8>, String)> =
                    statement.query_row(params![order_id.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                let Some((body, traceparent)) = found else { continue };
                entries.push(OutboxEntry::stored(0, body, &traceparent)?);
            }
            Ok(entries)
        })
    }

    fn send_redriven_again(&self, dead_letters: Vec<Uuid>) -> Answer<'_, ()> {
        self.ask(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for dead_letter in dead_letters {
                transaction
                    .prepare_cached(
                        "UPDATE redrive_items SET state = 'sending' WHERE dead_letter = ?1 AND state = 'sent'",
                    )?
                    .execute(params![dead_letter])?;
            }
            Ok(transaction.commit()?)
        })
    }

    /// One process has the file.
    fn lease(&self, _: &'static str, _: Uuid, _: Duration) -> Answer<'_, bool> {
        Box::pin(async { Ok(true) })
    }

    fn release(&self, _: &'static str, _: Uuid) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

fn count(connection: &Connection, sql: &str, parameters: &[&dyn ToSql]) -> Result<u64, StoreFault> {
    let count: i64 = connection.prepare_cached(sql)?.query_row(parameters, |row| row.get(0))?;
    Ok(unsigned(count))
}

/// Rows of order, time and dead letter.
fn overdue(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn ToSql],
    destination: &Name,
) -> Result<Vec<Overdue>, StoreFault> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, |row| {
        Ok((row.get::<_, Option<Uuid>>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<Uuid>>(2)?))
    })?;
    rows.map(|row| {
        let (order_id, at, dead_letter) = row?;
        let (order_id, destination) = (order_id.map(OrderId), destination.clone());
        Ok(Overdue { order_id, destination, since: time(at)?, dead_letter })
    })
    .collect()
}
