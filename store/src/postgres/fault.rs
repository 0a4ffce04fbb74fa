//! What went wrong in a conversation with Postgres, and what to do about it.

use std::error::Error as _;

use tokio_postgres::{Error, error::SqlState};

use crate::StoreFault;

/// What went wrong.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) remedy: Remedy,
    text: String,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The same transaction once more: another one was in the way.
    Repeat,
    /// Another connection.
    Reconnect,
    /// Nothing.
    None,
}

impl Fault {
    pub(super) fn new(remedy: Remedy, text: impl Into<String>) -> Self {
        Self { remedy, text: text.into() }
    }

    /// The connection has ended.
    pub(super) fn lost() -> Self {
        Self::new(Remedy::Reconnect, "the connection to the database was lost")
    }

    /// What happened, in words.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// No answer came in time.
    pub(super) fn overdue() -> Self {
        Self::new(Remedy::Reconnect, "the database did not answer in time")
    }
}

impl From<Error> for Fault {
    fn from(fault: Error) -> Self {
        let Some(told) = fault.as_db_error() else {
            // Anything that the server did not say itself leaves the connection in an unknown state.
            let cause = fault.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            return Self::new(Remedy::Reconnect, format!("{fault}{cause}"));
        };
        let code = told.code();
        let remedy = match code.code() {
            _ if [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code) => {
                Remedy::Repeat
            }
            // Shut down or starting up; too many connections; a transaction that was left idle.
            "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "25P03" => Remedy::Reconnect,
            class if class.starts_with("08") => Remedy::Reconnect,
            _ => Remedy::None,
        };
        // The detail of the server's message can hold data; the message does not.
        Self::new(remedy, format!("{} ({})", told.message(), code.code()))
    }
}

impl From<Fault> for StoreFault {
    fn from(fault: Fault) -> Self {
        Self::Database(fault.text)
    }
}

impl From<StoreFault> for Fault {
    fn from(fault: StoreFault) -> Self {
        Self::new(Remedy::None, fault.to_string())
    }
}
