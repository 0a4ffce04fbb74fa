//! SQLite, the embedded default: write-ahead log, `synchronous=FULL`, so that a commit survives a
//! power cut if the disk honours flushes.

mod numbers;
mod lanes;
mod accept;
pub(crate) mod record;
mod connection;
mod thread;
pub(crate) mod order_lists;
pub(crate) mod dead_letters;
pub(crate) mod redrives;
mod waiting;

use std::{path::Path, time::Duration};

use common::destination::Name;
use rusqlite::{Connection as Inner, TransactionBehavior};

use self::{accept::accept, lanes::advance, numbers::Numbers, record::record};
pub(crate) use self::{connection::Connection, thread::Thread};
use crate::{Acceptance, Backend, Batch, StoreFault};

/// The schema, as steps from one version to the next. A released step is never changed.
const MIGRATIONS: [&str; 4] = [
    include_str!("sqlite/0001_orders.sql"),
    include_str!("sqlite/0002_answers.sql"),
    include_str!("sqlite/0003_lanes.sql"),
    include_str!("sqlite/0004_waiting.sql"),
];
/// How long a statement waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this size, in bytes, after a burst.
const WAL_SIZE_LIMIT: i64 = 64 * 1_024 * 1_024;

/// The writer's connection to an SQLite file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    connection: Inner,
    /// Where orders that are accepted now are delivered: names with commas between.
    destinations: String,
}

impl From<rusqlite::Error> for crate::fault::Fault {
    fn from(fault: rusqlite::Error) -> Self {
        StoreFault::from(fault).into()
    }
}

impl From<rusqlite::Error> for StoreFault {
    fn from(fault: rusqlite::Error) -> Self {
        Self::Database(fault.to_string())
    }
}

impl Sqlite {
    /// Opens the file, creates it if absent, and brings its schema up to date. Orders that are accepted
    /// through it are delivered to `destinations`.
    ///
    /// # Errors
    /// The file cannot be opened or written, or a newer version wrote it.
    pub(crate) fn open(path: &Path, destinations: &[Name]) -> Result<Self, StoreFault> {
        Ok(Self {
            connection: open(path)?,
            destinations: destinations.iter().map(Name::as_str).collect::<Vec<_>>().join(","),
        })
    }
}

/// A connection to the file, which is created if absent and brought up to date.
pub(crate) fn open(path: &Path) -> Result<Inner, StoreFault> {
    let mut connection =
        Inner::open(path).map_err(|fault| StoreFault::Database(format!("cannot open {}: {fault}", path.display())))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_SIZE_LIMIT)?;
    connection.set_prepared_statement_cache_capacity(64);
    migrate(&mut connection)?;
    Ok(connection)
}

/// The schema version that this program writes.
fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Safe from several processes: the version is read inside the transaction that changes it.
fn migrate(connection: &mut Inner) -> Result<(), StoreFault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len();
    let done = usize::try_from(found).ok().filter(|done| *done <= known);
    let Some(done) = done else {
        return Err(StoreFault::NewerSchema { found, known: known_version() });
    };
    for step in &MIGRATIONS[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known_version())?;
    transaction.commit()?;
    Ok(())
}

impl Backend for Sqlite {
    async fn commit(&mut self, batch: &Batch) -> Result<Vec<Acceptance>, StoreFault> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut numbers = Numbers::take(&transaction, batch)?;
        advance(&transaction, &batch.lanes)?;
        let mut acceptances = Vec::with_capacity(batch.orders.len());
        for placed in &batch.orders {
            acceptances.push(accept(&transaction, placed, &self.destinations, &mut numbers)?);
        }
        let died = record(&transaction, &batch.lines(), &mut numbers)?;
        dead_letters::list(&transaction, died)?;
        transaction.commit()?;
        Ok(acceptances)
    }

    async fn probe(&mut self) -> Result<(), StoreFault> {
        // The version that is there already: a page is written and flushed all the same.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.pragma_update(None, "user_version", known_version())?;
        transaction.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conformance, testing::Scratch};

    crate::conformance::conforms!(Scratch::default());

    #[test]
    fn a_commit_is_flushed_to_the_disk_before_it_returns() {
        let scratch = Scratch::default();
        let connection = open(scratch.path()).unwrap();
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let full: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), full), ("wal", 2));
    }

    #[tokio::test]
    async fn a_position_is_never_given_twice() {
        let scratch = Scratch::default();
        let (mut writer, desk) = (scratch.writer(), scratch.desk());
        conformance::orders::an_accepted_order_waits_in_the_outbox_until_it_is_marked(&mut writer, &desk).await;
        let before = desk.backlog().await.unwrap().last;
        open(scratch.path()).unwrap().execute_batch("DELETE FROM pending; DELETE FROM orders").unwrap();
        assert_eq!(desk.backlog().await.unwrap().last, before);
    }

    #[test]
    fn a_newer_schema_is_refused_and_a_known_one_is_opened_again() {
        let scratch = Scratch::default();
        drop(open(scratch.path()).unwrap());
        open(scratch.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Sqlite::open(scratch.path(), &[]), Err(StoreFault::NewerSchema { found: 99, .. })));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let Err(fault) = Sqlite::open(Path::new("/nowhere/tandem.db"), &[]) else { panic!("opened") };
        assert!(fault.to_string().contains("/nowhere/tandem.db"), "{fault}");
    }
}
