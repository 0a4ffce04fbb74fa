//! Opening a store, whichever database it is: from here on nobody needs to know.

use std::{path::Path, thread::JoinHandle};

use common::{destination::Name, telemetry::metrics::Metrics};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Backlog, Committed, Desk, PostgresAddress, Sqlite, StoreFault, WriterMetrics, Writes, postgres};
use crate::{Database, Watch};

/// An open store: the ways to it, and what runs behind them.
pub struct Store {
    /// The way to the writer.
    pub writes: Writes,
    /// Everything else that is asked.
    pub desk: Desk,
    /// What each transaction brings.
    pub committed: mpsc::UnboundedReceiver<Committed>,
    /// What the outbox held at the start.
    pub backlog: Backlog,
    /// What runs behind them.
    pub behind: Behind,
}

/// The threads and tasks of a store.
pub struct Behind {
    /// Each ends when the last way to it is dropped.
    pub threads: Vec<JoinHandle<()>>,
    /// They end after the threads, when `ended` is cancelled and the desk is dropped.
    pub tasks: TaskTracker,
    /// Says that the threads have ended.
    pub ended: CancellationToken,
}

impl Store {
    /// Opens the database, created or brought up to date where need be. Orders are to be told to
    /// `destinations`; at most `intake_queue` requests wait for the disk. What other producers record is
    /// told to `watch`.
    ///
    /// # Errors
    /// The database cannot be reached or opened, or a newer version wrote it.
    pub async fn open(
        database: &Database,
        destinations: &[Name],
        intake_queue: usize,
        metrics: &Metrics,
        watch: &Watch,
    ) -> Result<Self, StoreFault> {
        let metrics = WriterMetrics::register(metrics);
        match database {
            Database::Sqlite(path) => Self::sqlite(path, destinations, intake_queue, metrics).await,
            Database::Postgres(address) => {
                Self::postgres(address.clone(), destinations, intake_queue, metrics, watch).await
            }
        }
    }

    async fn sqlite(
        path: &Path,
        destinations: &[Name],
        intake_queue: usize,
        metrics: WriterMetrics,
    ) -> Result<Self, StoreFault> {
        let writer = Sqlite::open(path, destinations)?;
        let (desk, mut threads, backlog) = Desk::sqlite(path).await?;
        let (sender, committed) = mpsc::unbounded_channel();
        let (writes, writer) = Writes::start(writer, intake_queue, sender, metrics).map_err(no_thread)?;
        threads.push(writer);
        let behind = Behind { threads, tasks: TaskTracker::new(), ended: CancellationToken::new() };
        Ok(Self { writes, desk, committed, backlog, behind })
    }

    async fn postgres(
        address: PostgresAddress,
        destinations: &[Name],
        intake_queue: usize,
        metrics: WriterMetrics,
        watch: &Watch,
    ) -> Result<Self, StoreFault> {
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let shared = postgres::Shared::open(address, &tasks).await?;
        let (sender, committed) = mpsc::unbounded_channel();
        // Before the writer makes the line by which others know of this producer.
        let news = shared.news(watch.clone(), ended.clone());
        tasks.spawn(news);
        let (writes, writer) =
            Writes::start(shared.writer(destinations), intake_queue, sender, metrics).map_err(no_thread)?;
        let desk = Desk::postgres(&shared);
        // The line is new: what others left comes with the first look at their lines.
        let backlog = Backlog::default();
        let behind = Behind { threads: vec![writer], tasks, ended };
        Ok(Self { writes, desk, committed, backlog, behind })
    }
}

fn no_thread(fault: std::io::Error) -> StoreFault {
    StoreFault::Database(format!("cannot start a thread: {fault}"))
}
