//! The desk: everything that is asked of the store except what the writer commits.
//!
//! Each kind of question has its own lane to the database, so that a list that takes long keeps nobody
//! waiting but other lists. A question is written once, as statements over [`Sql`].

mod page;
mod outbox;
mod pending;
mod orders;
mod order_lists;
mod ledger;
mod waits;
mod steer;
mod listing;
mod collect;
mod dead_letters;
mod redrives;
mod create_redrive;
mod run_redrive;
mod reconciliation;
mod upkeep;

use std::{path::Path, thread::JoinHandle, time::Duration};

use common::{order::OrderId, telemetry::metrics::Metrics};
use uuid::Uuid;

#[cfg(test)]
pub(crate) use self::order_lists::{CHANGES, LOOKED_AT, OUTCOMES};
pub use self::upkeep::SweptOrders;
pub(crate) use self::{
    dead_letters::FilterValues,
    listing::{INSERT, Listed},
    order_lists::{Along, PAGE_BYTES},
};
use crate::{
    Backlog, StoreFault,
    fault::Fault,
    postgres::{Notifier, Owner, Pool, Purpose, Shared},
    sql::Sql,
    sqlite::{Connection, Thread},
    unreadable::Unreadable,
};

/// How long an order or a page of the outbox may take.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How long anything else may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Connections to Postgres for orders.
const ORDER_CONNECTIONS: usize = 1;
/// Connections to Postgres for lists, dead letters and redrives.
const OPERATOR_CONNECTIONS: usize = 4;

const RELAY: Purpose = Purpose { name: "relay", by_key: true, statements: &[outbox::PREPARED] };
const OPERATORS: Purpose = Purpose { name: "desk", by_key: false, statements: &[] };
const ORDERS: Purpose = Purpose { name: "orders", by_key: true, statements: &[orders::PREPARED] };

/// Access to the store's data. Cloning shares it.
///
/// Every question has a deadline. It is refused with [`StoreFault::Busy`] if too many wait already, and with
/// [`StoreFault::Ended`] if the store has ended; any other fault means that nothing was stored, except where the
/// connection was lost during a commit. Cancelling a question is safe: what was asked is done as a whole, or
/// not at all.
#[derive(Clone)]
pub struct Desk {
    /// Pages of the outbox, and its backlog.
    relay: Lane,
    /// Orders by their id.
    orders: Lane,
    /// Lists, dead letters, redrives and upkeep.
    operators: Lane,
    producer: Producer,
    /// What could not be read.
    unreadable: Unreadable,
}

/// What a producer is in the database.
#[derive(Clone)]
enum Producer {
    /// The only one.
    Sqlite,
    /// One of several.
    Postgres { owner: Owner, others: Notifier },
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

impl Desk {
    /// A desk over a file, its threads, and what the outbox holds. Each thread ends when the last clone of the
    /// desk is dropped.
    pub(crate) async fn sqlite(path: &Path) -> Result<(Self, Vec<JoinHandle<()>>, Backlog), StoreFault> {
        let backlog = outbox::backlog(Sql::Sqlite(&Connection::open(path)?), Uuid::nil()).await?;
        let mut threads = Vec::new();
        let mut lane = |name, within| {
            let (lane, thread) = Thread::start(path, name, within)?;
            threads.push(thread);
            Ok::<_, StoreFault>(Lane::Sqlite(lane))
        };
        let relay = lane("store-relay", READ_WITHIN)?;
        let orders = lane("store-orders", READ_WITHIN)?;
        let operators = lane("store-desk", ANSWER_WITHIN)?;
        Ok((
            Self { relay, orders, operators, producer: Producer::Sqlite, unreadable: Unreadable::default() },
            threads,
            backlog,
        ))
    }

    /// A desk over a server; it connects when it is asked.
    pub(crate) fn postgres(shared: &Shared) -> Self {
        let lane = |purpose, connections, within| Lane::Postgres(shared.pool(purpose, connections, within));
        Self {
            relay: lane(RELAY, 1, READ_WITHIN),
            orders: lane(ORDERS, ORDER_CONNECTIONS, READ_WITHIN),
            operators: lane(OPERATORS, OPERATOR_CONNECTIONS, ANSWER_WITHIN),
            producer: Producer::Postgres { owner: shared.owner(), others: shared.notifier() },
            unreadable: Unreadable::default(),
        }
    }

    /// Registers what it counts.
    pub(crate) fn register(&self, metrics: &Metrics) {
        self.unreadable.register(metrics);
    }

    /// The owner of the outbox that it reads; `None` while this producer has no outbox: before its
    /// first lease, and after it has lost one.
    pub(crate) fn owner(&self) -> Option<Uuid> {
        match &self.producer {
            Producer::Sqlite => Some(Uuid::nil()),
            Producer::Postgres { owner, .. } => owner.get(),
        }
    }

    fn is_sqlite(&self) -> bool {
        matches!(self.producer, Producer::Sqlite)
    }

    /// Notifies the other producers, soon, that something was recorded of these orders. Those who wait at
    /// this producer are notified by its own code.
    fn notify(&self, orders: impl Iterator<Item = OrderId>) {
        if let Producer::Postgres { others, .. } = &self.producer {
            others.notify(orders);
        }
    }
}

/// What a question does with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The connections for one kind of question.
#[derive(Clone)]
enum Lane {
    Sqlite(Thread),
    Postgres(Pool),
}

impl Lane {
    async fn read<T, W>(&self, work: W) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        W: AsyncFn(Sql<'_>) -> Result<T, Fault> + Send + Sync + 'static,
    {
        self.ask(Access::Read, work).await
    }

    async fn write<T, W>(&self, work: W) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        W: AsyncFn(Sql<'_>) -> Result<T, Fault> + Send + Sync + 'static,
    {
        self.ask(Access::Write, work).await
    }

    async fn ask<T, W>(&self, access: Access, work: W) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        W: AsyncFn(Sql<'_>) -> Result<T, Fault> + Send + Sync + 'static,
    {
        match self {
            Self::Sqlite(thread) => thread.ask(access, work).await,
            Self::Postgres(pool) => pool.ask(access, work).await,
        }
    }
}

#[cfg(test)]
impl Desk {
    /// Runs a statement that no question runs.
    pub(crate) async fn run(&self, text: crate::sql::Text, id: Uuid) {
        let run = async move |sql: Sql<'_>| sql.execute(text, &[&id]).await;
        assert_eq!(self.operators.write(run).await, Ok(1));
    }

    /// How many rows could not be read.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable.count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc::channel};

    use super::*;
    use crate::{Backend as _, postgres::PostgresScratch, testing::Scratch};

    /// Asks the lanes of orders and lists for what they cannot answer, and the relay's for what it can.
    async fn the_relay_gets_its_pages(desk: &Desk, stuck: impl Future<Output = ()>) {
        let mut stuck = Box::pin(stuck);
        assert!(futures_util::poll!(&mut stuck).is_pending());
        assert_eq!(desk.outbox(0, 1).await.unwrap().len(), 0);
        assert_eq!(desk.backlog().await, Ok(Backlog::default()));
        assert!(futures_util::poll!(&mut stuck).is_pending());
    }

    #[tokio::test]
    async fn the_relay_waits_for_no_other_question_over_sqlite() {
        let scratch = Scratch::default();
        let desk = scratch.desk();
        let (_releases, held): (Vec<_>, Vec<_>) = [channel::<()>(), channel()].into_iter().unzip();
        let stuck = held.into_iter().zip([&desk.orders, &desk.operators]).map(|(held, lane)| {
            let held = Mutex::new(held);
            lane.read(async move |_| Ok(held.lock().unwrap().recv().is_ok()))
        });
        let stuck = futures_util::future::join_all(stuck);
        the_relay_gets_its_pages(&desk, async { drop(stuck.await) }).await;
    }

    #[tokio::test]
    async fn the_relay_waits_for_no_other_question_over_postgres() {
        let scratch = PostgresScratch::new().await;
        // Before its first lease, a producer has no outbox to read.
        scratch.writer().tick().await.unwrap();
        let desk = scratch.desk();
        assert!(desk.owner().is_some());
        let stuck = [&desk.orders, &desk.operators].into_iter().flat_map(|lane| {
            (0..OPERATOR_CONNECTIONS).map(move |_| lane.read(async |_| std::future::pending::<Result<(), _>>().await))
        });
        let stuck = futures_util::future::join_all(stuck);
        the_relay_gets_its_pages(&desk, async { drop(stuck.await) }).await;
    }
}
