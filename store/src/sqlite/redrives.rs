//! Redrives in SQLite.

mod plan;
mod run;

use std::collections::BTreeMap;

use common::{event::now, outcome::OutcomeStatus};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::SqliteDesk;
use crate::{
    Answer, Control, Controlled, Created, Plan, Progress, Redrive, RedriveStatus, Redrives, Sending, Standing,
    StoreFault, Terms, Wish,
    columns::unsigned,
    dead_letters::stored::{parse, time},
};

impl Redrives for SqliteDesk {
    fn plan_redrive(&self, wish: Wish) -> Answer<'_, Plan> {
        self.ask(move |connection| plan::plan(connection, &wish))
    }

    fn create_redrive(&self, wish: Wish, terms: Terms) -> Answer<'_, Created> {
        self.ask(move |connection| plan::create(connection, &wish, &terms))
    }

    fn redrive(&self, id: Uuid) -> Answer<'_, Option<Redrive>> {
        self.ask(move |connection| one(&connection.transaction()?, id))
    }

    fn redrives(&self, before: Option<Uuid>, limit: u32) -> Answer<'_, Vec<Redrive>> {
        self.ask(move |connection| list(&connection.transaction()?, before, limit))
    }

    fn control_redrive(&self, id: Uuid, control: Control) -> Answer<'_, Controlled> {
        self.ask(move |connection| self::control(connection, id, control))
    }

    fn running_redrives(&self) -> Answer<'_, Vec<Standing>> {
        self.ask(|connection| run::running(&connection.transaction()?))
    }

    fn take_redrive(&self, id: Uuid, limit: u32) -> Answer<'_, Vec<Sending>> {
        self.ask(move |connection| run::take(connection, id, limit))
    }

    fn unconfirmed_redrives(&self, after: Option<Uuid>, limit: u32) -> Answer<'_, Vec<Sending>> {
        self.ask(move |connection| run::unconfirmed(connection, after, limit))
    }

    fn sent_redrives(&self, dead_letters: Vec<Uuid>) -> Answer<'_, ()> {
        self.ask(move |connection| run::sent(connection, &dead_letters, now()))
    }

    fn delivered_redrive(&self, dead_letter: Uuid) -> Answer<'_, ()> {
        self.ask(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            ended(&transaction, dead_letter, OutcomeStatus::Delivered)?;
            Ok(transaction.commit()?)
        })
    }

    fn end_redrive(&self, id: Uuid, status: RedriveStatus, detail: Option<String>) -> Answer<'_, ()> {
        self.ask(move |connection| {
            connection
                .prepare_cached(
                    "UPDATE redrives SET status = ?2, detail = ?3, updated_at = ?4 WHERE id = ?1 AND status = 'running'",
                )?
                .execute(params![id, status.as_str(), detail, now().as_microsecond()])?;
            Ok(())
        })
    }
}

/// A dead letter that was sent again has ended. In the caller's transaction; once is enough, and more
/// changes nothing.
pub(super) fn ended(transaction: &Transaction<'_>, dead_letter: Uuid, status: OutcomeStatus) -> Result<(), StoreFault> {
    transaction
        .prepare_cached(
            "UPDATE redrive_items SET state = ?2, ended_at = ?3 WHERE dead_letter = ?1 AND state IN ('sending', 'sent')",
        )?
        .execute(params![dead_letter, status.as_str(), now().as_microsecond()])?;
    let state = match status {
        OutcomeStatus::Delivered => "delivered",
        // It lives on as the later one.
        OutcomeStatus::DeadLettered => "redriven",
    };
    transaction
        .prepare_cached("UPDATE dead_letters SET state = ?2 WHERE id = ?1 AND state = 'redriving'")?
        .execute(params![dead_letter, state])?;
    Ok(())
}

const COLUMNS: &str = "id, status, detail, filter, rate, concurrency, stop_after_failed_share, body IS NOT NULL AS edited, \
     new_key, matched, refused, created_at, updated_at";

/// A row as it stands there.
struct JobRow {
    redrive: Redrive,
    status: String,
    filter: String,
    refused: String,
    times: [i64; 2],
}

impl JobRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let matched: i64 = row.get("matched")?;
        Ok(Self {
            redrive: Redrive {
                id: row.get("id")?,
                status: RedriveStatus::Running,
                detail: row.get("detail")?,
                selection: crate::Selection::Ids(Vec::new()),
                rate: row.get("rate")?,
                concurrency: row.get("concurrency")?,
                stop_after_failed_share: row.get("stop_after_failed_share")?,
                edited: row.get("edited")?,
                new_key: row.get("new_key")?,
                matched: unsigned(matched),
                refused: Vec::new(),
                progress: Progress::default(),
                created_at: Timestamp::UNIX_EPOCH,
                updated_at: Timestamp::UNIX_EPOCH,
            },
            status: row.get("status")?,
            filter: row.get("filter")?,
            refused: row.get("refused")?,
            times: [row.get("created_at")?, row.get("updated_at")?],
        })
    }

    fn redrive(self, transaction: &Transaction<'_>) -> Result<Redrive, StoreFault> {
        let Self { redrive, status, filter, refused, times: [created_at, updated_at] } = self;
        Ok(Redrive {
            status: self::status(&status)?,
            selection: parse(&filter)?,
            refused: parse(&refused)?,
            progress: progress(transaction, redrive.id)?,
            created_at: time(created_at)?,
            updated_at: time(updated_at)?,
            ..redrive
        })
    }
}

fn status(word: &str) -> Result<RedriveStatus, StoreFault> {
    RedriveStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| StoreFault::Database(format!("a stored redrive has the unknown status {word}")))
}

/// Counted in an index: twenty thousand take a millisecond or two.
fn progress(transaction: &Transaction<'_>, id: Uuid) -> Result<Progress, StoreFault> {
    let counts: BTreeMap<String, i64> = transaction
        .prepare_cached("SELECT state, count(*) FROM redrive_items WHERE redrive_id = ?1 GROUP BY state")?
        .query_map(params![id], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let count = |state: &str| counts.get(state).copied().map_or(0, unsigned);
    Ok(Progress {
        queued: count("queued"),
        sending: count("sending"),
        sent: count("sent"),
        delivered: count("delivered"),
        dead_lettered: count("dead_lettered"),
        cancelled: count("cancelled"),
    })
}

fn one(transaction: &Transaction<'_>, id: Uuid) -> Result<Option<Redrive>, StoreFault> {
    let row = transaction
        .prepare_cached(&format!("SELECT {COLUMNS} FROM redrives WHERE id = ?1"))?
        .query_row(params![id], JobRow::read)
        .optional()?;
    row.map(|row| row.redrive(transaction)).transpose()
}

fn list(transaction: &Transaction<'_>, before: Option<Uuid>, limit: u32) -> Result<Vec<Redrive>, StoreFault> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM redrives WHERE id < ifnull(?1, x'FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF') ORDER BY id DESC LIMIT ?2"
    ))?;
    let rows = statement.query_map(params![before, limit], JobRow::read)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|row| row.redrive(transaction)).collect()
}

fn control(connection: &mut Connection, id: Uuid, control: Control) -> Result<Controlled, StoreFault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(redrive) = one(&transaction, id)? else { return Ok(Controlled::Unknown) };
    let Some(status) = control.applied_to(redrive.status) else {
        return Ok(Controlled::NotPossible(redrive.status));
    };
    transaction
        .prepare_cached(
            "UPDATE redrives SET status = ?2, detail = NULL, updated_at = ?3,
                 judged_from = CASE WHEN ?2 = 'running' THEN ?3 ELSE judged_from END
             WHERE id = ?1",
        )?
        .execute(params![id, status.as_str(), now().as_microsecond()])?;
    if status == RedriveStatus::Cancelled {
        transaction
            .prepare_cached("UPDATE redrive_items SET state = 'cancelled' WHERE redrive_id = ?1 AND state = 'queued'")?
            .execute(params![id])?;
    }
    let redrive = one(&transaction, id)?;
    transaction.commit()?;
    Ok(redrive.map_or(Controlled::Unknown, |redrive| Controlled::Done(Box::new(redrive))))
}
