//! A row, and how it is read.

use common::{order::OrderId, outcome::Reason};
use jiff::Timestamp;
use rusqlite::Row as SqlRow;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::store::{DeadLetter, Link, State, StoreFault};

/// All but the content.
pub(super) const COLUMNS: &str = "id, order_id, destination, state, reason, status_code, error, failed_at, key_used_at, attempts, \
     parent, redrives, archived_at, note";

/// A row as it stands there.
pub(super) struct Row {
    id: Uuid,
    order_id: Option<Uuid>,
    destination: String,
    state: String,
    reason: String,
    status_code: Option<u16>,
    error: Option<String>,
    failed_at: i64,
    key_used_at: Option<i64>,
    attempts: String,
    parent: Option<Uuid>,
    redrives: u32,
    archived_at: Option<i64>,
    note: Option<String>,
}

impl Row {
    pub(super) fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            order_id: row.get("order_id")?,
            destination: row.get("destination")?,
            state: row.get("state")?,
            reason: row.get("reason")?,
            status_code: row.get("status_code")?,
            error: row.get("error")?,
            failed_at: row.get("failed_at")?,
            key_used_at: row.get("key_used_at")?,
            attempts: row.get("attempts")?,
            parent: row.get("parent")?,
            redrives: row.get("redrives")?,
            archived_at: row.get("archived_at")?,
            note: row.get("note")?,
        })
    }

    pub(super) fn letter(self) -> Result<DeadLetter, StoreFault> {
        Ok(DeadLetter {
            id: self.id,
            order_id: self.order_id.map(OrderId),
            destination: self.destination,
            state: state(&self.state)?,
            reason: reason(&self.reason)?,
            status_code: self.status_code,
            error: self.error,
            failed_at: time(self.failed_at)?,
            key_used_at: self.key_used_at.map(time).transpose()?,
            attempts: parse(&self.attempts)?,
            parent: self.parent,
            redrives: self.redrives,
            archived_at: self.archived_at.map(time).transpose()?,
            note: self.note,
        })
    }
}

type LinkRow = (Uuid, String, String, Option<u16>, Option<String>, i64);

pub(super) fn link((id, of_state, of_reason, status_code, error, failed_at): LinkRow) -> Result<Link, StoreFault> {
    let (state, reason) = (state(&of_state)?, reason(&of_reason)?);
    Ok(Link { id, state, reason, status_code, error, failed_at: time(failed_at)? })
}

pub(super) fn state(word: &str) -> Result<State, StoreFault> {
    State::ALL
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| StoreFault::Database(format!("a stored dead letter has the unknown state {word}")))
}

pub(super) fn reason(word: &str) -> Result<Reason, StoreFault> {
    Reason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == word)
        .ok_or_else(|| StoreFault::Database(format!("a stored dead letter has the unknown reason {word}")))
}

pub(super) fn time(micros: i64) -> Result<Timestamp, StoreFault> {
    Timestamp::from_microsecond(micros)
        .map_err(|_| StoreFault::Database(format!("a stored dead letter has the time {micros}, which is none")))
}

pub(super) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, StoreFault> {
    // The parser's own words quote what is stored.
    serde_json::from_str(json)
        .map_err(|_| StoreFault::Database("a part of a stored dead letter cannot be read".to_owned()))
}
