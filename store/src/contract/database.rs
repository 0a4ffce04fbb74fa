//! Where the data is.

use std::path::{Path, PathBuf};

use crate::PostgresAddress;

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file, created if absent.
    Sqlite(PathBuf),
    /// A server, for any number of producers.
    Postgres(PostgresAddress),
}

impl Database {
    /// The file, if it is one on this machine.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}
