//! A database of a test's own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use super::{Desk, Sqlite, SqliteDesk};

/// An SQLite file, removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("tandem-store-{}.db", Uuid::new_v4())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// For orders that are to be told to north and south.
    pub(crate) fn open(&self) -> Sqlite {
        Sqlite::open(&self.0, &["north".to_owned(), "south".to_owned()]).unwrap()
    }

    /// As if a dead letter had come into this state.
    pub(crate) fn set_state(&self, id: Uuid, state: &str) {
        let connection = rusqlite::Connection::open(&self.0).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection.execute("UPDATE dead_letters SET state = ?2 WHERE id = ?1", (id, state)).unwrap();
    }

    pub(crate) fn desk(&self) -> Arc<dyn Desk> {
        Arc::new(SqliteDesk::start(&self.0).unwrap().0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.0.display()));
        }
    }
}
