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
use crate::store::{Answer, Desk, StoreFault};

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
        W: AsyncWork<T> + 'a,
    {
        Box::pin(self.in_time(work, false))
    }

    /// The same in one transaction, committed when `work` has succeeded and rolled back when not. A fault
    /// leaves open whether it was committed only where the connection was lost on the way.
    pub(super) fn transaction<'a, T, W>(&'a self, work: W) -> Answer<'a, T>
    where
        T: Send + 'a,
        W: AsyncWork<T> + 'a,
    {
        Box::pin(self.in_time(work, true))
    }

    /// Tells the other producers, soon, that something was recorded of these orders. Those who wait at
    /// this one hear of it by [`Watch`](crate::watch::Watch).
    pub(super) fn tell(&self, orders: &[OrderId]) {
        self.news().tell(orders.iter().copied());
    }

    fn news(&self) -> &News {
        &self.0.shared.news
    }

    async fn in_time<T: Send, W: AsyncWork<T>>(&self, work: W, transaction: bool) -> Result<T, StoreFault> {
        let answer = timeout(ANSWER_WITHIN, self.try_often(work, transaction)).await;
        answer.unwrap_or_else(|_| Err(Fault::overdue().into()))
    }

    async fn try_often<T: Send, W: AsyncWork<T>>(&self, work: W, transaction: bool) -> Result<T, StoreFault> {
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

async fn once<T: Send, W: AsyncWork<T>>(
    link: &mut Link,
    work: &W,
    transaction: bool,
    committing: &mut bool,
) -> Result<T, Fault> {
    let session = link.session().await?;
    if transaction {
        session.begin().await?;
    }
    let done = work.run(session).await?;
    if transaction {
        *committing = true;
        session.commit().await?;
    }
    Ok(done)
}

/// What is done with a session: a closure `|session| Box::pin(async move { … })`.
pub(super) trait AsyncWork<T>: Send + Sync {
    fn run<'s>(&self, session: &'s Session) -> Working<'s, T>;
}

/// Work in progress.
pub(super) type Working<'s, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 's>>;

impl<T, F> AsyncWork<T> for F
where
    F: for<'s> Fn(&'s Session) -> Working<'s, T> + Send + Sync,
{
    fn run<'s>(&self, session: &'s Session) -> Working<'s, T> {
        self(session)
    }
}

impl Desk for PostgresDesk {}
