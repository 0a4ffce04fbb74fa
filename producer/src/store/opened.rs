//! Opening a store, whichever database it is: from here on nobody needs to know.

use std::{sync::Arc, thread::JoinHandle};

use common::telemetry::metrics::Metrics;
use tokio::sync::mpsc;

use super::{Backend as _, Backlog, Committed, Desk, Reads, Sqlite, SqliteDesk, StoreFault, WriterMetrics, Writes};
use crate::config::Database;

/// An open store: the ways to it, and what runs behind them.
pub struct Store {
    /// The way to the writer.
    pub writes: Writes,
    /// The way to the reader.
    pub reads: Reads,
    /// The desk.
    pub desk: Arc<dyn Desk>,
    /// What each transaction brings.
    pub committed: mpsc::UnboundedReceiver<Committed>,
    /// What the outbox held at the start.
    pub backlog: Backlog,
    /// Each ends when the last way to it is dropped.
    pub threads: Vec<JoinHandle<()>>,
}

impl Store {
    /// Opens the database, created or brought up to date where need be. Orders are to be told to
    /// `destinations`; at most `intake_queue` requests wait for the disk.
    ///
    /// # Errors
    /// The database cannot be reached or opened, or a newer version wrote it.
    pub async fn open(
        database: &Database,
        destinations: &[String],
        intake_queue: usize,
        metrics: &Metrics,
    ) -> Result<Self, StoreFault> {
        let metrics = WriterMetrics::register(metrics);
        let Database::Sqlite(path) = database;
        let mut writer = Sqlite::open(path, destinations)?;
        let backlog = writer.backlog().await?;
        let (sender, committed) = mpsc::unbounded_channel();
        let no_thread = |fault: std::io::Error| StoreFault::Database(format!("cannot start a thread: {fault}"));
        let (writes, writer) = Writes::start(writer, intake_queue, sender, metrics).map_err(no_thread)?;
        let (reads, reader) = Reads::start(Sqlite::open(path, destinations)?).map_err(no_thread)?;
        let (desk, desk_thread) = SqliteDesk::start(path)?;
        let threads = vec![writer, reader, desk_thread];
        Ok(Self { writes, reads, desk: Arc::new(desk), committed, backlog, threads })
    }
}
