//! A few connections, each of which answers one question at a time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{
    TRIES,
    link::Link,
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
    idle: Mutex<Vec<Link>>,
}

/// A connection that nobody else uses in the meantime. It is opened when it is needed.
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
    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lend(&self) -> Result<Lent<'_>, StoreFault> {
        let permit = self.free.acquire().await.map_err(|_| StoreFault::Ended)?;
        let link = self.idle().pop().unwrap_or_else(|| Link::new(self.server.clone(), self.purpose));
        Ok(Lent { link: Some(link), connections: self, _permit: permit })
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
        let answer = timeout(self.0.answer_within, self.try_often(access, work)).await;
        answer.unwrap_or_else(|_| Err(Fault::overdue().into()))
    }

    async fn try_often<T, W>(&self, access: Access, work: W) -> Result<T, StoreFault>
    where
        W: AsyncFn(Sql<'_>) -> Result<T, Fault>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut lent = self.0.lend().await?;
            // Taken out while it is used: a caller that stops waiting drops it, and with it the transaction.
            let Some(mut link) = lent.link.take() else { return Err(StoreFault::Ended) };
            let mut committing = false;
            let fault = match once(&mut link, access, &work, &mut committing).await {
                Ok(done) => {
                    lent.link = Some(link);
                    return Ok(done);
                }
                Err(fault) => fault,
            };
            let rolled_back = fault.remedy != Remedy::Reconnect
                && match link.standing() {
                    Some(session) if access == Access::Write => session.rollback().await.is_ok(),
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

async fn once<T, W>(link: &mut Link, access: Access, work: &W, committing: &mut bool) -> Result<T, Fault>
where
    W: AsyncFn(Sql<'_>) -> Result<T, Fault>,
{
    let session = link.session().await?;
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
