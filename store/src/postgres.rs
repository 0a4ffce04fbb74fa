//! Postgres, for many producers on one database.
//!
//! The order path takes a constant number of statements for a whole group. Each producer gives the positions
//! of its own outbox under a [`lease`] of the server's clock, so that its relay reads its own orders alone; the
//! outbox of one that has ended is taken over by the others. Producers [`notify`] each other of what they
//! record.

mod address;
mod tls;
mod session;
mod fault;
mod reconnect;
mod migrate;
mod lease;
mod accept;
pub(crate) mod record;
mod commit;
mod notify;
mod pool;
pub(crate) mod order_lists;
pub(crate) mod dead_letters;
pub(crate) mod redrives;
mod waiting;
#[cfg(test)]
mod scratch;
#[cfg(test)]
mod several;

use std::time::Duration;

use common::destination::Name;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use address::PostgresAddress;
#[cfg(test)]
pub(crate) use scratch::PostgresScratch;

use self::{accept::Orders, lease::Lease, reconnect::Reconnecting, record::Lines, session::Server};
pub(crate) use self::{
    lease::Owner,
    notify::Notifier,
    pool::Pool,
    session::{Purpose, Session},
};
use crate::{
    Acceptance, Adopted, Backend, Batch, Committed, StoreFault,
    columns::unsigned,
    fault::{Fault, Remedy},
};

/// How often a transaction is tried that conflicts with another one.
const TRIES: usize = 4;
/// How long a transaction may take, all tries included.
const COMMIT_WITHIN: Duration = Duration::from_secs(20);
/// How long ending the lease may take.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

const BEGIN: &str = "BEGIN";

const WRITER: Purpose =
    Purpose { name: "writer", by_key: true, statements: &[lease::STATEMENTS, accept::STATEMENTS, record::STATEMENTS] };
/// Used once, at the start.
const MIGRATION: Purpose = Purpose { name: "migration", by_key: false, statements: &[] };

/// The writer's connection to a Postgres database.
pub(crate) struct Postgres {
    connection: Reconnecting,
    lease: Lease,
    /// Where orders that are accepted now are delivered.
    destinations: Vec<String>,
    notifier: Notifier,
    /// When the lease was renewed last.
    renewed_at: Option<Instant>,
}

/// What the parts of one producer share.
#[derive(Clone)]
pub(super) struct Shared {
    server: Server,
    owner: Owner,
    notifier: Notifier,
}

impl Shared {
    /// Reaches the database and brings it up to date. Connections become tasks of `tasks`.
    ///
    /// # Errors
    /// It cannot be reached, or a newer version wrote it.
    pub(super) async fn open(address: PostgresAddress, tasks: &TaskTracker) -> Result<Self, StoreFault> {
        let location = address.location();
        let server = Server::new(address, tasks.clone())?;
        let session = server.open(MIGRATION, None).await.map_err(|fault| {
            StoreFault::Database(format!("DATABASE_URL: the database {location} cannot be used: {fault}"))
        })?;
        migrate::migrate(&session).await?;
        Ok(Self { server, owner: Owner::default(), notifier: Notifier::default() })
    }

    /// The writer's connection, which accepts orders for `destinations`.
    pub(super) fn writer(&self, destinations: &[Name]) -> Postgres {
        Postgres {
            connection: Reconnecting::new(self.server.clone(), WRITER),
            lease: Lease::new(self.owner.clone()),
            destinations: destinations.iter().map(Name::to_string).collect(),
            notifier: self.notifier.clone(),
            renewed_at: None,
        }
    }

    /// Connections for questions.
    pub(crate) fn pool(&self, purpose: Purpose, connections: usize, answer_within: Duration) -> Pool {
        Pool::new(self.server.clone(), purpose, connections, answer_within)
    }

    /// The owner of this producer's outbox.
    pub(crate) fn owner(&self) -> Owner {
        self.owner.clone()
    }

    /// Notifies the other producers.
    pub(crate) fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Exchanges notifications with the other producers until `ended`. What they record goes to `committed`.
    pub(super) fn notifications(
        &self,
        committed: mpsc::WeakUnboundedSender<Committed>,
        ended: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.notifier().run(self.server.clone(), committed, ended)
    }
}

impl Backend for Postgres {
    const TICK: Option<Duration> = Some(lease::TICK);

    async fn commit(&mut self, batch: &Batch) -> Result<Vec<Acceptance>, StoreFault> {
        if batch.orders.is_empty() && batch.records_nothing() && batch.published_up_to.is_none() {
            return Ok(Vec::new());
        }
        let orders = Orders::new(&batch.orders);
        let lines = Lines::new(batch.lines());
        let committing = self.commit_in_time(batch, &orders, &lines);
        match timeout(COMMIT_WITHIN, committing).await {
            Ok(committed) => committed,
            Err(_) => {
                self.connection.disconnect();
                self.leave_in_doubt(batch);
                Err(Fault::overdue().into())
            }
        }
    }

    async fn probe(&mut self) -> Result<(), StoreFault> {
        self.tick().await.map(|_| ())
    }

    async fn tick(&mut self) -> Result<Adopted, StoreFault> {
        let mut tries = 0;
        loop {
            tries += 1;
            let ticked = match timeout(COMMIT_WITHIN, self.try_tick()).await {
                Ok(ticked) => ticked,
                Err(_) => Err(Fault::overdue()),
            };
            match ticked {
                Ok(adopted) => return Ok(adopted),
                Err(fault) => {
                    let remedy = fault.remedy;
                    self.recover(&fault).await;
                    if remedy == Remedy::None || tries == TRIES {
                        return Err(fault.into());
                    }
                }
            }
        }
    }

    async fn release(&mut self) {
        let Some(session) = self.connection.current() else { return };
        match timeout(RELEASE_WITHIN, self.lease.release(session)).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::warn!(%fault, "others take over after the lease"),
            Err(_) => tracing::warn!("the database did not answer in time: others take over after the lease"),
        }
    }
}

impl Postgres {
    async fn try_tick(&mut self) -> Result<Adopted, Fault> {
        let session = self.connection.session().await?;
        let owner = self.lease.owner(session).await?;
        let last = self.lease.last();
        let advance: session::Parameters<'_> = &[&owner, &last, &0_i64, &lease::LEASE];
        let ((), renewed) =
            tokio::try_join!(biased; session.batch(BEGIN), session.query_first(lease::ADVANCE, advance))?;
        let Some(renewed) = renewed else {
            self.lease.lose();
            return Err(Fault::new(Remedy::Repeat, "another producer took this one's outbox over"));
        };
        let others = renewed.try_get(0)?;
        let taken_over = self.lease.take_over(session, owner).await?;
        session.commit().await?;
        self.renewed(others);
        if taken_over.rows > 0 {
            tracing::info!(events = taken_over.rows, "took over the outbox of a producer that has ended");
        }
        Ok(Adopted { events: unsigned(taken_over.rows), last: unsigned(self.lease.last()), more: taken_over.more })
    }

    /// Leaves the session without a transaction, or drops it.
    async fn recover(&mut self, fault: &Fault) {
        let rolled_back = match self.connection.current() {
            Some(session) if fault.remedy != Remedy::Reconnect => session.rollback().await.is_ok(),
            _ => false,
        };
        if !rolled_back {
            self.connection.disconnect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance::conforms!(PostgresScratch::new().await);

    #[tokio::test]
    async fn a_newer_schema_is_refused_and_a_known_one_is_opened_again() {
        let scratch = PostgresScratch::new().await;
        scratch.another().await;
        let client = scratch.database.connect().await.unwrap();
        client.batch_execute("UPDATE schema_version SET version = 99").await.unwrap();
        let address = PostgresAddress::parse(scratch.database.url()).unwrap();
        let opened = Shared::open(address, &TaskTracker::new()).await;
        assert!(matches!(opened, Err(StoreFault::NewerSchema { found: 99, .. })));
    }

    #[tokio::test]
    async fn several_producers_may_start_at_once_on_an_empty_database() {
        let database = ::tests::postgres::fresh_database().await.unwrap();
        let open = || async {
            let address = PostgresAddress::parse(database.url()).unwrap();
            Shared::open(address, &TaskTracker::new()).await.map(|_| ())
        };
        assert_eq!(futures_util::future::join_all((0..4).map(|_| open())).await, [Ok(()), Ok(()), Ok(()), Ok(())]);
    }
}
