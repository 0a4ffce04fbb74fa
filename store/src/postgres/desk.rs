//! The desk over Postgres: connections of its own, so that a long list keeps neither intake nor the
//! relay waiting.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::order::OrderId;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{
    Shared,
    fault::{Fault, Remedy},
    link::Link,
    news::News,
    session::{Purpose, Session},
};
use crate::{Answer, Areas, StoreFault};

/// How many questions are answered at a time; the others wait.
const CONNECTIONS: usize = 4;
/// How long a question waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How often a transaction that another one was in the way of is tried.
const TRIES: usize = 4;
const PURPOSE: Purpose = Purpose { name: "desk", by_key: false, statements: &[] };

/// The way to the desk's connections. Cloning shares it.
#[derive(Clone)]
pub struct PostgresDesk(Arc<Connections>);

struct Connections {
    shared: Shared,
    free: Semaphore,
    idle: Mutex<Vec<Link>>,
}

/// A connection that nobody else uses meanwhile.
struct Lent<'a> {
    link: Option<Link>,
    connections: &'a Connections,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.connections.idle().push(link);
        }
    }
}

impl Connections {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lend(&self) -> Result<Lent<'_>, StoreFault> {
        let permit = self.free.acquire().await.map_err(|_| StoreFault::Busy)?;
        let link = self.idle().pop().unwrap_or_else(|| Link::new(self.shared.server.clone(), PURPOSE));
        Ok(Lent { link: Some(link), connections: self, _permit: permit })
    }
}

impl PostgresDesk {
    /// A desk; it connects when it is asked.
    pub(super) fn new(shared: Shared) -> Self {
        Self(Arc::new(Connections { shared, free: Semaphore::new(CONNECTIONS), idle: Mutex::default() }))
    }

    /// Reads by one or more statements, each of which sees what was committed when it began. Tried again
    /// where that may help, so `work` may run more than once.
    pub(super) fn ask<'a, T, W>(&'a self, work: W) -> Answer<'a, T>
    where
        T: Send + 'a,
        W: for<'s> Fn(&'s Session) -> Working<'s, T> + Send + Sync + 'a,
    {
        Box::pin(self.in_time(work, false))
    }

    /// The same in one transaction, committed when `work` has succeeded and rolled back when not. A fault
    /// leaves open whether it was committed only where the connection was lost on the way.
    pub(super) fn transaction<'a, T, W>(&'a self, work: W) -> Answer<'a, T>
    where
        T: Send + 'a,
        W: for<'s> Fn(&'s Session) -> Working<'s, T> + Send + Sync + 'a,
    {
        Box::pin(self.in_time(work, true))
    }

    /// Tells the other producers, soon, that something was recorded of these orders. Those who wait at
    /// this one hear of it by [`Watch`](crate::Watch).
    pub(super) fn tell(&self, orders: &[OrderId]) {
        self.news().tell(orders.iter().copied());
    }

    fn news(&self) -> &News {
        &self.0.shared.news
    }

    async fn in_time<T: Send, W>(&self, work: W, transaction: bool) -> Result<T, StoreFault>
    where
        W: for<'s> Fn(&'s Session) -> Working<'s, T> + Send + Sync,
    {
        let answer = timeout(ANSWER_WITHIN, self.try_often(work, transaction)).await;
        answer.unwrap_or_else(|_| Err(Fault::overdue().into()))
    }

    async fn try_often<T: Send, W>(&self, work: W, transaction: bool) -> Result<T, StoreFault>
    where
        W: for<'s> Fn(&'s Session) -> Working<'s, T> + Send + Sync,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut lent = self.0.lend().await?;
            // Taken out while it is used: whoever stops waiting drops it, and with it the transaction.
            let Some(mut link) = lent.link.take() else { return Err(StoreFault::Busy) };
            let mut committing = false;
            let done = once(&mut link, &work, transaction, &mut committing).await;
            let fault = match done {
                Ok(done) => {
                    lent.link = Some(link);
                    return Ok(done);
                }
                Err(fault) => fault,
            };
            let rolled_back = fault.remedy != Remedy::Reconnect
                && match link.standing() {
                    Some(session) if transaction => session.rollback().await.is_ok(),
                    _ => true,
                };
            if !rolled_back {
                link.lose();
            }
            lent.link = Some(link);
            let in_doubt = committing && fault.remedy == Remedy::Reconnect;
            if in_doubt || fault.remedy == Remedy::None || tries == TRIES {
                return Err(fault.into());
            }
        }
    }
}

async fn once<T: Send, W>(link: &mut Link, work: &W, transaction: bool, committing: &mut bool) -> Result<T, Fault>
where
    W: for<'s> Fn(&'s Session) -> Working<'s, T> + Send + Sync,
{
    let session = link.session().await?;
    if transaction {
        session.begin().await?;
    }
    let done = work(session).await?;
    if transaction {
        *committing = true;
        session.commit().await?;
    }
    Ok(done)
}

/// Work in progress: what is done with a session is a closure `|session| Box::pin(async move { … })`.
pub(super) type Working<'s, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 's>>;

impl Areas for PostgresDesk {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::PostgresScratch;

    const RESET: &str = "TRUNCATE redrive_items";
    const COUNT: &str = "SELECT count(*) FROM redrive_items";
    const INSERT: &str = "INSERT INTO redrive_items VALUES ($1, $1, 'queued')";

    #[tokio::test]
    async fn a_transaction_is_committed_whole_or_leaves_nothing_behind() {
        let desk = PostgresScratch::new().await;
        let desk = desk.old_desk();
        let id = uuid::Uuid::now_v7();
        let count = || {
            desk.ask(|session| Box::pin(async { Ok(session.query_first(COUNT, &[]).await?.unwrap().get::<_, i64>(0)) }))
        };
        let insert = |times: usize| {
            desk.transaction(move |session| {
                Box::pin(async move {
                    for _ in 0..times {
                        session.execute(INSERT, &[&id]).await?;
                    }
                    Ok(times)
                })
            })
        };
        assert!(matches!(insert(2).await, Err(StoreFault::Database(_))), "twice the same key");
        assert_eq!(count().await, Ok(0));
        assert_eq!((insert(1).await, count().await), (Ok(1), Ok(1)));
        desk.ask(|session| Box::pin(async { session.batch(RESET).await })).await.unwrap();
        assert_eq!(count().await, Ok(0));
    }

    #[tokio::test]
    async fn a_connection_that_the_server_ends_is_replaced_by_another() {
        let scratch = PostgresScratch::new().await;
        let desk = scratch.old_desk();
        let count = || desk.ask(|session| Box::pin(async { Ok(session.query(COUNT, &[]).await?.len()) }));
        assert_eq!(count().await, Ok(1));
        let client = scratch.database.connect().await.unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'tandem producer: desk'";
        assert_eq!(client.execute(end, &[]).await.unwrap(), 1);
        assert_eq!(count().await, Ok(1));
    }
}
