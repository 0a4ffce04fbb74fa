//! The store: orders, outbox, ledger, dead letters and idempotency keys, in one database. The only crate that
//! knows SQL.
//!
//! In the order of the flow, from the contract down to the databases:
//!
//! - [`contract`]: what the store is given and what it returns. [`fault`]: why it did not. [`fingerprint`]: what
//!   makes a dead letter recognisable.
//! - [`rules`]: what is decided without a database: what a repeated key means, which of two reports is true,
//!   which dead letters a redrive takes.
//! - [`open`]: a store over one of the databases.
//! - [`writer`]: the order path. An order comes in through [`Writes`]; one thread owns all writing, and commits
//!   whatever waits for the disk in one transaction. What came of it goes out as [`Committed`].
//! - [`desk`]: everything else. The [`Desk`] answers the relay, the clients and the operators, each over its own
//!   lane to the database. A question is one function over [`sql`], whose rows are read by [`columns`]; those that
//!   are [`unreadable`] are left out.
//! - [`sqlite`], [`postgres`]: the databases. What differs between them for a reason is theirs: how a batch is
//!   committed, how a long list is read, how several producers share one database.

mod contract;
mod fault;
pub mod fingerprint;
mod rules;
mod open;
mod writer;
mod desk;
mod sql;
mod columns;
mod unreadable;
mod sqlite;
mod postgres;
#[cfg(test)]
mod conformance;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "a test that cannot have its database has failed")]
pub mod testing;

pub use contract::*;
pub use desk::{Desk, SweptOrders};
pub use fault::StoreFault;
pub use open::{Store, StoreTasks};
pub use postgres::PostgresAddress;
pub use writer::{Acceptance, Backend, Batch, Changes, Committed, Room, Space, WriterMetrics, WriterState, Writes};
