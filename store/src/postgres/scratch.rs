//! A database for one test, on the cluster that all tests share.

use ::tests::postgres::{Database, fresh_database};
use tokio_util::task::TaskTracker;

use super::{Postgres, PostgresAddress, Shared};
use crate::{Desk, testing::names};

/// Removed at the end.
pub(crate) struct PostgresScratch {
    pub(crate) database: Database,
    shared: Shared,
}

impl PostgresScratch {
    pub(crate) async fn new() -> Self {
        let database = fresh_database().await.unwrap();
        let shared = Self::producer(&database).await;
        Self { database, shared }
    }

    /// The store of one producer.
    async fn producer(database: &Database) -> Shared {
        let address = PostgresAddress::parse(database.url()).unwrap();
        Shared::open(address, &TaskTracker::new()).await.unwrap()
    }

    /// The store of another producer.
    pub(super) async fn another(&self) -> Shared {
        Self::producer(&self.database).await
    }

    /// For orders that are delivered to north and south.
    pub(crate) fn writer(&self) -> Postgres {
        self.shared.writer(&names(["north", "south"]))
    }

    pub(crate) fn desk(&self) -> Desk {
        Desk::postgres(&self.shared)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn open(&self) -> Producer {
        Producer::of(&self.shared)
    }

    pub(super) async fn open_another(&self) -> Producer {
        Producer::of(&self.another().await)
    }
}

/// A writer, and a desk that reads its outbox.
pub(super) struct Producer {
    writer: Postgres,
    pub(super) desk: Desk,
}

impl Producer {
    pub(super) fn of(shared: &Shared) -> Self {
        Self { writer: shared.writer(&names(["north", "south"])), desk: Desk::postgres(shared) }
    }
}

impl std::ops::Deref for Producer {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        &self.writer
    }
}

impl std::ops::DerefMut for Producer {
    fn deref_mut(&mut self) -> &mut Postgres {
        &mut self.writer
    }
}
