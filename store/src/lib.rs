//! The store: orders, outbox, ledger, dead letters and idempotency keys, in one database.
//!
//! An order comes in through [`Writes`]: one [`writer`] owns all writing on the order path, and commits
//! whatever waits for the disk in one transaction over a [`Backend`]. Everything else is asked of the
//! [`Desk`], as statements over [`sql::Sql`].

mod contract;
mod fault;
mod rules;
mod open;
mod writer;
mod desk;
mod sql;
mod columns;
mod sqlite;
mod postgres;
mod watch;
#[cfg(test)]
mod conformance;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "a test that cannot have its database has failed")]
pub mod testing;

pub use contract::*;
pub use desk::{Desk, SweptOrders};
pub use fault::StoreFault;
pub use open::{Behind, Store};
pub use postgres::{Postgres, PostgresAddress};
pub use sqlite::Sqlite;
pub use watch::{Watch, Watcher};
pub use writer::{Acceptance, Backend, Batch, Committed, Room, Space, WriterMetrics, Writes};
