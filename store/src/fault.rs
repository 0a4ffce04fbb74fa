//! What goes wrong in the store, and what helps.

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// The database failed; nothing of the transaction is stored.
    #[error("{0}")]
    Database(String),
    /// Too many requests are waiting. Trying again later helps.
    #[error("too many requests are waiting for the store")]
    Busy,
    /// The store has ended, and answers nothing any more.
    #[error("the store has ended")]
    Ended,
    /// The database was written by a newer version.
    #[error(
        "the database has schema version {found}, this version knows up to {known}: run a newer version, or use another database"
    )]
    NewerSchema {
        /// The version of the database.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
}

/// A failed statement or transaction, with what may help.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) remedy: Remedy,
    cause: StoreFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The same transaction once more: it was in conflict with another one.
    Repeat,
    /// Another connection.
    Reconnect,
    /// Nothing.
    None,
}

impl Fault {
    pub(crate) fn new(remedy: Remedy, text: impl Into<String>) -> Self {
        Self { remedy, cause: StoreFault::Database(text.into()) }
    }

    /// The connection has ended.
    pub(crate) fn lost() -> Self {
        Self::new(Remedy::Reconnect, "the connection to the database was lost")
    }

    /// No answer came in time.
    pub(crate) fn overdue() -> Self {
        Self::new(Remedy::Reconnect, "the database did not answer in time")
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cause.fmt(f)
    }
}

impl From<Fault> for StoreFault {
    fn from(fault: Fault) -> Self {
        fault.cause
    }
}

impl From<StoreFault> for Fault {
    fn from(cause: StoreFault) -> Self {
        Self { remedy: Remedy::None, cause }
    }
}
