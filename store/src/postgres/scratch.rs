//! A database of a test's own, on the cluster that all tests share.

use std::sync::Arc;

use ::tests::postgres::{Database, fresh_database};
use tokio_util::task::TaskTracker;

use super::{Postgres, PostgresAddress, PostgresDesk, Shared};
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

    /// A producer, as far as the store is concerned.
    async fn producer(database: &Database) -> Shared {
        let address = PostgresAddress::parse(database.url()).unwrap();
        Shared::open(address, &TaskTracker::new()).await.unwrap()
    }

    /// Another producer, all of it.
    pub(super) async fn another(&self) -> Shared {
        Self::producer(&self.database).await
    }

    /// For orders that are to be told to north and south.
    pub(crate) fn open(&self) -> Postgres {
        self.shared.writer(&names(["north", "south"]))
    }

    /// The same of another producer.
    pub(crate) async fn open_another(&self) -> Postgres {
        self.another().await.writer(&names(["north", "south"]))
    }

    /// The desk as the binaries have it.
    pub(crate) fn desk(&self) -> Arc<dyn Desk> {
        Arc::new(self.postgres_desk())
    }

    pub(crate) fn postgres_desk(&self) -> PostgresDesk {
        self.shared.desk()
    }
}
