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
            // It fails if the fault itself has rolled the transaction back.
            let _ = connection.batch("ROLLBACK");
            Err(fault)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::{sql::Text, testing::Scratch};

    const WITHIN: Duration = Duration::from_secs(30);
    const RESET: Text = Text::of("DELETE FROM redrive_items");
    const COUNT: Text = Text::of("SELECT count(*) FROM redrive_items");
    const INSERT: Text =
        Text::of("INSERT INTO redrive_items (redrive_id, dead_letter, state) VALUES ($1, $1, 'queued')");

    #[tokio::test]
    async fn a_transaction_is_committed_whole_or_leaves_nothing_behind() {
        let scratch = Scratch::default();
        let (thread, _) = Thread::start(scratch.path(), "test", WITHIN).unwrap();
        let id = uuid::Uuid::now_v7();
        let insert = |times: usize| {
            thread.ask(Access::Write, async move |sql: Sql<'_>| {
                for _ in 0..times {
                    sql.execute(INSERT, &[&id]).await?;
                }
                Ok(())
            })
        };
        let count =
            || thread.ask(Access::Read, async |sql: Sql<'_>| sql.first(COUNT, &[], |row| row.get::<i64>(0)).await);
        assert!(matches!(insert(2).await, Err(StoreFault::Database(_))), "twice the same key");
        assert_eq!(count().await, Ok(Some(0)));
        assert_eq!((insert(1).await, count().await), (Ok(()), Ok(Some(1))));
        assert_eq!(thread.ask(Access::Write, async |sql| sql.execute(RESET, &[]).await).await, Ok(1));
        assert_eq!(count().await, Ok(Some(0)));
    }

    #[tokio::test]
    async fn a_question_beyond_the_queue_is_refused() {
        let scratch = Scratch::default();
        let (thread, _) = Thread::start(scratch.path(), "test", WITHIN).unwrap();
        let (release, held) = channel::<()>();
        let (began, begins) = oneshot::channel();
        let (held, began) = (std::sync::Mutex::new(held), std::sync::Mutex::new(Some(began)));
        let hold = thread.ask(Access::Read, async move |_| {
            let _ = began.lock().unwrap().take().unwrap().send(());
            let _ = held.lock().unwrap().recv();
            Ok(())
        });
        let mut hold = Box::pin(hold);
        assert!(futures_util::poll!(&mut hold).is_pending());
        begins.await.unwrap();
        let nothing = || thread.ask(Access::Read, async |_| Ok(()));
        let mut waiting: Vec<_> = (0..QUEUE).map(|_| Box::pin(nothing())).collect();
        for question in &mut waiting {
            assert!(futures_util::poll!(question).is_pending());
        }
        assert_eq!(nothing().await, Err(StoreFault::Busy));
        drop(release);
        assert_eq!(hold.await, Ok(()));
        for question in waiting {
            assert_eq!(question.await, Ok(()));
        }
    }

    #[tokio::test]
    async fn a_thread_that_has_ended_says_so_and_does_not_ask_to_try_again() {
        let scratch = Scratch::default();
        let (thread, _) = Thread::start(scratch.path(), "test", WITHIN).unwrap();
        let dies = thread.ask(Access::Read, async |_| -> Result<(), Fault> { panic!("as if by a mistake") });
        assert_eq!(dies.await, Err(StoreFault::Ended));
        assert_eq!(thread.ask(Access::Read, async |_| Ok(())).await, Err(StoreFault::Ended));
    }
}
