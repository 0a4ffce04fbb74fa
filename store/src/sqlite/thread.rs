//! A thread with a connection, which answers one question after the other.

use std::{
    path::Path,
    thread::{self, JoinHandle},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{mpsc, mpsc::error::TrySendError, oneshot},
    time::timeout,
};

use super::Connection;
use crate::{
    StoreFault,
    desk::Access,
    fault::{Fault, Remedy},
    sql::Sql,
};

/// Most questions that may wait; the caller of a further one is refused at once.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Access to the thread. Cloning shares it; the thread ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    jobs: mpsc::Sender<Job>,
    answer_within: Duration,
}

impl Thread {
    pub(crate) fn start(
        path: &Path,
        name: &str,
        answer_within: Duration,
    ) -> Result<(Self, JoinHandle<()>), StoreFault> {
        let connection = Connection::open(path)?;
        let (jobs, mut asked) = mpsc::channel::<Job>(QUEUE);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(job) = asked.blocking_recv() {
                    job(&connection);
                }
            })
            .map_err(|fault| StoreFault::Database(format!("cannot start a thread: {fault}")))?;
        Ok((Self { jobs, answer_within }, thread))
    }

    /// Does the work on the thread, in one transaction.
    pub(crate) async fn ask<T, W>(&self, access: Access, work: W) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        W: AsyncFn(Sql<'_>) -> Result<T, Fault> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // A caller that has left does not need the answer.
            let _ = reply.send(transact(connection, access, work));
        });
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreFault::Busy,
            TrySendError::Closed(_) => StoreFault::Ended,
        })?;
        match timeout(self.answer_within, answer).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) => Err(StoreFault::Ended),
            Err(_) => Err(StoreFault::Database("the disk did not answer in time".to_owned())),
        }
    }
}

/// A transaction also for what only reads, so that all of it is of one moment.
fn transact<T, W>(connection: &Connection, access: Access, work: W) -> Result<T, Fault>
where
    W: AsyncFn(Sql<'_>) -> Result<T, Fault>,
{
    connection.batch(match access {
        Access::Read => "BEGIN",
        Access::Write => "BEGIN IMMEDIATE",
    })?;
    let done = work(Sql::Sqlite(connection)).now_or_never();
    let done = done.unwrap_or_else(|| Err(Fault::new(Remedy::None, "a statement over SQLite waited")));
    match done.and_then(|done| connection.batch("COMMIT").map(|()| done)) {
        Ok(done) => Ok(done),
        Err(fault) => {
            // Where the fault itself has rolled it back, there is no transaction any more.
            let _ = connection.batch("ROLLBACK");
            Err(fault)
        }
    }
}
