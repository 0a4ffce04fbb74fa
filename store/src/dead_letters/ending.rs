//! How the delivery of a dead letter ended, and what is written of it.

use common::outcome::{Attempt, Outcome, OutcomeStatus, Reason};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Collected, State, stored::json};
use crate::StoreFault;

/// Longest error of a row, in characters: it stands in indexes, and a stranger's report may hold anything.
const MAX_ERROR_CHARS: usize = 300;

/// How a delivery ended.
pub(crate) enum Ending {
    /// So it is; as the ledger has it, where the letter is of an order.
    Known(End),
    /// The ledger is to be told this.
    Told(Reason, Box<Outcome>),
    /// A report may still come.
    Open,
}

/// A delivery's end.
pub(crate) struct End {
    pub(crate) state: State,
    pub(crate) reason: Reason,
    pub(crate) outcome: Option<Outcome>,
    /// Whether it was written into the ledger just now.
    pub(crate) changed: bool,
}

/// The order in whose ledger a letter's end stands.
pub(crate) fn order_of(letter: &Collected) -> Option<Uuid> {
    letter.origin.destination().and(letter.identity.as_ref()).map(|identity| identity.order_id.0)
}

/// The end of a letter's delivery; `ledger` is what the ledger says of it, if it has ended there.
pub(crate) fn ending(letter: &Collected, ledger: Option<Outcome>, now: Timestamp) -> Ending {
    let (Some(identity), Some(destination)) = (&letter.identity, letter.origin.destination()) else {
        // No report can name it.
        let reason = letter.reason.unwrap_or(Reason::Unreported);
        return Ending::Known(End { state: State::Dead, reason, outcome: None, changed: false });
    };
    if let Some(outcome) = ledger {
        // A body that cannot be read is not what was delivered, whatever order it names.
        let unreadable = letter.reason.filter(|reason| *reason == Reason::Unreadable);
        let delivered = outcome.status == OutcomeStatus::Delivered && unreadable.is_none();
        let state = if delivered { State::Delivered } else { State::Dead };
        let reason = unreadable.or(outcome.reason).or(letter.reason).unwrap_or(Reason::Unreported);
        return Ending::Known(End { state, reason, outcome: Some(outcome), changed: false });
    }
    let reason = match letter.reason {
        Some(reason) => reason,
        None if now < letter.report_by => return Ending::Open,
        None => Reason::Unreported,
    };
    let outcome = Outcome {
        event_id: identity.event_id,
        order_id: identity.order_id,
        correlation_id: identity.correlation_id.clone(),
        destination: destination.clone(),
        status: OutcomeStatus::DeadLettered,
        reason: Some(reason),
        attempts: Vec::new(),
        settled_at: letter.died_at,
        dead_letter: letter.parent,
    };
    Ending::Told(reason, Box::new(outcome))
}

/// What is known of the dead letter that was sent again.
pub(crate) struct Parent {
    pub(crate) key_used_at: Option<i64>,
    pub(crate) redrives: i64,
}

/// The columns that are not as they were in the queue.
pub(crate) struct Fields {
    pub(crate) order_id: Option<Uuid>,
    pub(crate) status_code: Option<i32>,
    pub(crate) error: Option<String>,
    pub(crate) failed_at: i64,
    pub(crate) key_used_at: Option<i64>,
    pub(crate) attempts: String,
    pub(crate) headers: String,
    pub(crate) properties: String,
    pub(crate) deaths: String,
    pub(crate) parent: Option<Uuid>,
    pub(crate) redrives: i64,
}

impl Fields {
    pub(crate) fn of(letter: &Collected, end: &End, parent: Option<Parent>) -> Result<Self, StoreFault> {
        let attempts = end.outcome.as_ref().map(|outcome| outcome.attempts.as_slice()).unwrap_or_default();
        let first = attempts.first().map(|attempt| attempt.at).or(letter.accepted_at).map(Timestamp::as_microsecond);
        let used = parent.as_ref().and_then(|parent| parent.key_used_at);
        let failed_at = end.outcome.as_ref().map_or(letter.died_at, |outcome| outcome.settled_at);
        Ok(Self {
            order_id: letter.identity.as_ref().map(|identity| identity.order_id.0),
            status_code: last_status(attempts),
            error: letter.error.as_deref().map(plain).or_else(|| last_error(attempts)),
            failed_at: failed_at.as_microsecond(),
            key_used_at: [used, first].into_iter().flatten().min(),
            attempts: json(attempts)?,
            headers: json(&letter.content.headers)?,
            properties: json(&letter.content.properties)?,
            deaths: json(&letter.content.deaths)?,
            parent: letter.parent.filter(|_| parent.is_some()),
            redrives: parent.map_or(0, |parent| parent.redrives + 1),
        })
    }
}

/// The last attempt's status.
pub(crate) fn last_status(attempts: &[Attempt]) -> Option<i32> {
    attempts.last()?.status_code.map(i32::from)
}

/// What went wrong last.
pub(crate) fn last_error(attempts: &[Attempt]) -> Option<String> {
    attempts.last()?.error.as_deref().map(plain)
}

/// One line of a bounded length.
fn plain(error: &str) -> String {
    error.chars().filter(|c| !c.is_control()).take(MAX_ERROR_CHARS).collect()
}
