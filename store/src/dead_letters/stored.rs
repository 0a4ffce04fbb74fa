//! A row as it stands in a database, whichever it is.

use common::{order::OrderId, outcome::Reason};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{DeadLetter, Link, State};
use crate::{StoreFault, columns::parse_origin};

/// All but the content, in the order of [`Stored`].
pub(crate) const COLUMNS: &str = "id, order_id, destination, state, reason, status_code, error, failed_at, key_used_at, attempts, \
     parent, redrives, archived_at, note";

/// A row without its content.
pub(crate) struct Stored {
    pub(crate) id: Uuid,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) destination: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) status_code: Option<i32>,
    pub(crate) error: Option<String>,
    pub(crate) failed_at: i64,
    pub(crate) key_used_at: Option<i64>,
    pub(crate) attempts: String,
    pub(crate) parent: Option<Uuid>,
    pub(crate) redrives: i64,
    pub(crate) archived_at: Option<i64>,
    pub(crate) note: Option<String>,
}

impl Stored {
    pub(crate) fn letter(self) -> Result<DeadLetter, StoreFault> {
        Ok(DeadLetter {
            id: self.id,
            order_id: self.order_id.map(OrderId),
            origin: parse_origin(&self.destination)?,
            state: state(&self.state)?,
            reason: reason(&self.reason)?,
            status_code: self.status_code.and_then(|code| u16::try_from(code).ok()),
            error: self.error,
            failed_at: time(self.failed_at)?,
            key_used_at: self.key_used_at.map(time).transpose()?,
            attempts: parse(&self.attempts)?,
            parent: self.parent,
            redrives: u32::try_from(self.redrives).unwrap_or(u32::MAX),
            archived_at: self.archived_at.map(time).transpose()?,
            note: self.note,
        })
    }
}

/// One row of a lineage: id, state, reason, status code, error and time.
pub(crate) type LinkRow = (Uuid, String, String, Option<i32>, Option<String>, i64);

pub(crate) fn link(row: LinkRow) -> Result<Link, StoreFault> {
    let (id, of_state, of_reason, status_code, error, failed_at) = row;
    let (state, reason) = (state(&of_state)?, reason(&of_reason)?);
    let status_code = status_code.and_then(|code| u16::try_from(code).ok());
    Ok(Link { id, state, reason, status_code, error, failed_at: time(failed_at)? })
}

pub(crate) fn state(word: &str) -> Result<State, StoreFault> {
    State::ALL
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| StoreFault::Database(format!("a stored dead letter has the unknown state {word}")))
}

pub(crate) fn reason(word: &str) -> Result<Reason, StoreFault> {
    Reason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == word)
        .ok_or_else(|| StoreFault::Database(format!("a stored dead letter has the unknown reason {word}")))
}

pub(crate) fn time(micros: i64) -> Result<Timestamp, StoreFault> {
    Timestamp::from_microsecond(micros)
        .map_err(|_| StoreFault::Database(format!("a stored dead letter has the time {micros}, which is none")))
}

pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, StoreFault> {
    // The parser's own words quote what is stored.
    serde_json::from_str(json)
        .map_err(|_| StoreFault::Database("a part of a stored dead letter cannot be read".to_owned()))
}

pub(crate) fn json(part: &(impl Serialize + ?Sized)) -> Result<String, StoreFault> {
    serde_json::to_string(part)
        .map_err(|fault| StoreFault::Database(format!("cannot encode a part of a dead letter: {fault}")))
}

/// A pattern for LIKE, with the escape `\`, that any text with this part matches.
pub(crate) fn containing(part: &str) -> String {
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
