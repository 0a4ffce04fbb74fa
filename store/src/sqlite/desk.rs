//! The desk over an SQLite file: a connection and a thread of its own, so that a long list keeps
//! neither intake nor the relay waiting.

use std::{
    path::Path,
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::open;
use crate::{Answer, Areas, StoreFault};

/// Most questions that may wait; beyond it the caller is told at once.
const QUEUE: usize = 256;
/// How long a question waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to the desk's thread. Cloning shares it; the thread ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct SqliteDesk {
    jobs: mpsc::Sender<Job>,
}

impl SqliteDesk {
    /// Opens the file and starts the thread.
    ///
    /// # Errors
    /// The file cannot be opened, or the operating system gives no thread.
    pub fn start(path: &Path) -> Result<(Self, JoinHandle<()>), StoreFault> {
        let mut connection = open(path)?;
        let (jobs, mut asked) = mpsc::channel::<Job>(QUEUE);
        let thread = thread::Builder::new()
            .name("store-desk".to_owned())
            .spawn(move || {
                while let Some(job) = asked.blocking_recv() {
                    job(&mut connection);
                }
            })
            .map_err(|fault| StoreFault::Database(format!("cannot start a thread: {fault}")))?;
        Ok((Self { jobs }, thread))
    }

    /// Has the thread do something with its connection.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreFault> + Send + 'static,
    ) -> Answer<'_, T> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Who has left meanwhile does not need the answer.
            let _ = reply.send(work(connection));
        });
        let queued = self.jobs.try_send(job);
        Box::pin(async move {
            queued.map_err(|_| StoreFault::Busy)?;
            match timeout(ANSWER_WITHIN, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(StoreFault::Busy),
                Err(_) => Err(StoreFault::Database("the disk did not answer in time".to_owned())),
            }
        })
    }
}

impl Areas for SqliteDesk {}
