//! A few connections, each of which answers one question at a time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{
    TRIES,
    reconnect::Reconnecting,
    session::{Purpose, Server},
};
use crate::{
    StoreFault,
    desk::Access,
    fault::{Fault, Remedy},
    sql::Sql,
};

/// Most questions that may wait; the caller of a further one is refused at once.
const QUEUE: usize = 256;

/// Access to the connections. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Connections>);

struct Connections {
    server: Server,
    purpose: Purpose,
    answer_within: Duration,
    /// One for each question that is answered or waits.
    places: Semaphore,
    /// One for each connection that nobody uses.
    free: Semaphore,
    idle: Mutex<Vec<Reconnecting>>,
}

/// A connection that nobody else uses in the meantime. It is opened when it is needed.
///
/// Dropped with a transaction open, it is closed: nobody knows how far the transaction came. Dropped while
/// it reads, it stays open, and the answer that nobody waits for is thrown away.
struct Lent<'a> {
    connection: Option<Reconnecting>,
    connections: &'a Connections,
    in_transaction: bool,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            if self.in_transaction {
                connection.disconnect();
            }
            self.connections.idle().push(connection);
        }
    }
}

impl Connections {
    fn idle(&self) -> MutexGuard<'_, Vec<Reconnecting>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lend(&self) -> Result<Lent<'_>, StoreFault> {
        let permit = self.free.acquire().await.map_err(|_| StoreFault::Ended)?;
        let connection = self.idle().pop().unwrap_or_else(|| Reconnecting::new(self.server.clone(), self.purpose));
        Ok(Lent { connection: Some(connection), connections: self, in_transaction: false, _permit: permit })
    }
}

impl Pool {
    pub(super) fn new(server: Server, purpose: Purpose, connections: usize, answer_within: Duration) -> Self {
        Self(Arc::new(Connections {
            server,
            purpose,
            answer_within,
            places: Semaphore::new(QUEUE + connections),
            free: Semaphore::new(connections),
            idle: Mutex::default(),
        }))
    }

    /// Does the work over one of the connections, again where that may help: `work` may run more than once.
    ///
    /// What is written is one transaction, committed when `work` has succeeded and rolled back when it has
    /// not; a fault leaves open whether it was committed only if the connection was lost during the commit.
    /// Of what is read, each statement sees what was committed when it began.
    pub(crate) async fn ask<T, W>(&self, access: Access, work: W) -> Result<T, StoreFault>
    where
        W: AsyncFn(Sql<'_>) -> Result<T, Fault>,
    {
        let _place = self.0.places.try_acquire().map_err(|_| StoreFault::Busy)?;
        let deadline = Instant::now() + self.0.answer_within;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut lent = timeout_at(deadline, self.0.lend()).await.map_err(|_| Fault::overdue())??;
            let Some(connection) = &mut lent.connection else { return Err(StoreFault::Ended) };
            lent.in_transaction = access == Access::Write;
            let mut committing = false;
            let asked = timeout_at(deadline, once(connection, access, &work, &mut committing)).await;
            let fault = match asked.unwrap_or_else(|_| Err(Fault::overdue())) {
                Ok(done) => {
                    lent.in_transaction = false;
                    return Ok(done);
                }
                Err(fault) => fault,
            };
            let rolled_back = fault.remedy != Remedy::Reconnect
                && match connection.current() {
                    Some(session) if access == Access::Write => {
                        timeout_at(deadline, session.rollback()).await.is_ok_and(|rolled_back| rolled_back.is_ok())
                    }
                    _ => true,
                };
            if !rolled_back {
                connection.disconnect();
            }
            lent.in_transaction = false;
            let in_doubt = committing && fault.remedy == Remedy::Reconnect;
            if in_doubt || fault.remedy == Remedy::None || tries == TRIES || Instant::now() >= deadline {
                return Err(fault.into());
            }
        }
    }
}

async fn once<T, W>(connection: &mut Reconnecting, access: Access, work: &W, committing: &mut bool) -> Result<T, Fault>
where
    W: AsyncFn(Sql<'_>) -> Result<T, Fault>,
{
    let session = connection.session().await?;
    if access == Access::Write {
        session.begin().await?;
    }
    let done = work(Sql::Postgres(session)).await?;
    if access == Access::Write {
        *committing = true;
        session.commit().await?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{postgres::PostgresScratch, sql::Text};

    const PURPOSE: Purpose = Purpose { name: "desk", by_key: false, statements: &[] };
    const RESET: Text = Text::of("DELETE FROM redrive_items");
    const COUNT: Text = Text::of("SELECT count(*) FROM redrive_items");
    const INSERT: Text =
        Text::of("INSERT INTO redrive_items (redrive_id, dead_letter, state) VALUES ($1, $1, 'queued')");

    fn pool(scratch: &PostgresScratch) -> Pool {
        scratch.shared().pool(PURPOSE, 1, Duration::from_secs(30))
    }

    async fn count(pool: &Pool) -> Result<i64, StoreFault> {
        pool.ask(Access::Read, async |sql| Ok(sql.first(COUNT, &[], |row| row.get(0)).await?.unwrap())).await
    }

    #[tokio::test]
    async fn a_transaction_is_committed_whole_or_leaves_nothing_behind() {
        let scratch = PostgresScratch::new().await;
        let (pool, id) = (pool(&scratch), Uuid::now_v7());
        let insert = async |times: usize| {
            let insert = async |sql: Sql<'_>| {
                for _ in 0..times {
                    sql.execute(INSERT, &[&id]).await?;
                }
                Ok(())
            };
            pool.ask(Access::Write, insert).await
        };
        assert!(matches!(insert(2).await, Err(StoreFault::Database(_))), "twice the same key");
        assert_eq!(count(&pool).await, Ok(0));
        assert_eq!((insert(1).await, count(&pool).await), (Ok(()), Ok(1)));
        pool.ask(Access::Write, async |sql| sql.execute(RESET, &[]).await).await.unwrap();
        assert_eq!(count(&pool).await, Ok(0));
    }

    #[tokio::test]
    async fn a_connection_that_the_server_ends_is_replaced_by_another() {
        let scratch = PostgresScratch::new().await;
        let pool = pool(&scratch);
        assert_eq!(count(&pool).await, Ok(0));
        let client = scratch.database.connect().await.unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'tandem producer: desk'";
        assert_eq!(client.execute(end, &[]).await.unwrap(), 1);
        assert_eq!(count(&pool).await, Ok(0));
    }

    #[tokio::test]
    async fn a_caller_that_stops_waiting_for_a_read_leaves_its_connection_open() {
        let scratch = PostgresScratch::new().await;
        let pool = pool(&scratch);
        let backend = async || {
            const PID: Text = Text::of("SELECT pg_backend_pid()");
            pool.ask(Access::Read, async |sql| Ok(sql.first(PID, &[], |row| row.get::<i32>(0)).await?.unwrap())).await
        };
        let before = backend().await;
        for _ in 0..3 {
            let mut left = Box::pin(backend());
            assert!(futures_util::poll!(&mut left).is_pending());
        }
        assert_eq!(backend().await, before);
    }

    #[tokio::test]
    async fn a_question_beyond_the_queue_is_refused() {
        let scratch = PostgresScratch::new().await;
        let pool = pool(&scratch);
        let stuck = || pool.ask(Access::Read, async |_| std::future::pending::<Result<(), Fault>>().await);
        let mut waiting: Vec<_> = (0..=QUEUE).map(|_| Box::pin(stuck())).collect();
        for question in &mut waiting {
            assert!(futures_util::poll!(question).is_pending());
        }
        assert_eq!(stuck().await, Err(StoreFault::Busy));
        waiting.pop();
        assert!(futures_util::poll!(Box::pin(stuck())).is_pending(), "its place is free again");
    }
}
