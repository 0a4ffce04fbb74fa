//! Opening a store. From here on nobody needs to know which database it is.

use std::{
    path::Path,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use common::{destination::Name, telemetry::metrics::Metrics};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Backlog, Committed, Database, Desk, PostgresAddress, StoreFault, WriterMetrics, Writes, postgres, sqlite::Sqlite,
};

/// How long the last transaction may take, after everything else has ended.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// An open store, and what runs behind it.
pub struct Store {
    /// Accepts orders and records outcomes.
    pub writes: Writes,
    /// Answers everything else.
    pub desk: Desk,
    /// What each transaction brings.
    pub committed: mpsc::UnboundedReceiver<Committed>,
    /// What the outbox held at the start.
    pub backlog: Backlog,
    pub tasks: StoreTasks,
}

/// The threads and tasks of a store.
pub struct StoreTasks {
    /// They end when the last clones of [`Writes`] and [`Desk`] are dropped.
    threads: Vec<JoinHandle<()>>,
    /// They end after the threads, when `ended` is cancelled.
    tasks: TaskTracker,
    /// To be cancelled when the threads have ended.
    ended: CancellationToken,
}

impl StoreTasks {
    /// Waits for the threads and tasks to end, once every clone of [`Writes`] and [`Desk`] is dropped. Each
    /// thread, and the tasks together, have 5 s.
    pub async fn end(self) {
        for thread in self.threads {
            join(thread).await;
        }
        self.ended.cancel();
        self.tasks.close();
        if timeout(LAST_COMMIT, self.tasks.wait()).await.is_err() {
            tracing::error!("a connection of the store does not end: the database does not answer");
        }
    }
}

impl Store {
    /// Opens the database, creates it if absent, and brings it up to date. Orders are delivered to
    /// `destinations`; at most `intake_queue` requests wait for the disk.
    ///
    /// # Errors
    /// The database cannot be reached or opened, or a newer version wrote it.
    pub async fn open(
        database: &Database,
        destinations: &[Name],
        intake_queue: usize,
        metrics: &Metrics,
    ) -> Result<Self, StoreFault> {
        let writer = WriterMetrics::register(metrics);
        let store = match database {
            Database::Sqlite(path) => Self::sqlite(path, destinations, intake_queue, writer).await,
            Database::Postgres(address) => Self::postgres(address.clone(), destinations, intake_queue, writer).await,
        }?;
        store.desk.register(metrics);
        Ok(store)
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
        let tasks = StoreTasks { threads, tasks: TaskTracker::new(), ended: CancellationToken::new() };
        Ok(Self { writes, desk, committed, backlog, tasks })
    }

    async fn postgres(
        address: PostgresAddress,
        destinations: &[Name],
        intake_queue: usize,
        metrics: WriterMetrics,
    ) -> Result<Self, StoreFault> {
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let shared = postgres::Shared::open(address, &tasks).await?;
        let (sender, committed) = mpsc::unbounded_channel();
        // Before the writer takes the lease by which others know of this producer.
        tasks.spawn(shared.notifications(sender.downgrade(), ended.clone()));
        let (writes, writer) =
            Writes::start(shared.writer(destinations), intake_queue, sender, metrics).map_err(no_thread)?;
        // The outbox is new: what others left comes with the first tick.
        let backlog = Backlog::default();
        let tasks = StoreTasks { threads: vec![writer], tasks, ended };
        Ok(Self { writes, desk: Desk::postgres(&shared), committed, backlog, tasks })
    }
}

fn no_thread(fault: std::io::Error) -> StoreFault {
    StoreFault::Database(format!("cannot start a thread: {fault}"))
}

/// Waits for a thread without blocking the runtime's thread, which it still needs.
async fn join(thread: JoinHandle<()>) {
    let deadline = Instant::now() + LAST_COMMIT;
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            tracing::error!("a thread of the store does not end: the disk does not answer");
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}
