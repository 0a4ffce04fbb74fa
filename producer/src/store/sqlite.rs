//! SQLite, the embedded default: write-ahead log, `synchronous=FULL`, so that a commit survives a
//! power cut as far as the disk honours flushes.

mod dead_letters;
mod desk;
mod order_lists;
mod reconciliation;
mod redrives;
mod upkeep;

use std::{path::Path, time::Duration};

use common::{
    event::OrderCreated,
    order::OrderId,
    outcome::{Outcome, OutcomeStatus},
    trace_context::TraceParent,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use uuid::Uuid;

pub use desk::SqliteDesk;

use super::{
    Backend, Backlog, Batch, Done, Entry, Known, Place, Recorded, StoreFault, Stored,
    form::{parse_event, parse_outcome, signed, to_json, unsigned},
    merge,
};
use crate::intake::{Idempotency, Placed, Receipt};

/// The schema, as steps from one version to the next. A step that was released is never changed.
const MIGRATIONS: [&str; 1] = [include_str!("sqlite/0001_orders.sql")];
/// How long a statement waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this size, in bytes, after a burst.
const WAL_SIZE_LIMIT: i64 = 64 * 1_024 * 1_024;

/// A page of the outbox ends after so many bytes, whatever was asked for.
const OUTBOX_BYTES: usize = 4 * 1_024 * 1_024;

/// One connection to an SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    /// Who is told of the orders that are accepted now: names, with commas between.
    destinations: String,
}

impl From<rusqlite::Error> for StoreFault {
    fn from(fault: rusqlite::Error) -> Self {
        Self::Database(fault.to_string())
    }
}

impl Sqlite {
    /// Opens the file, creates it if absent, and brings its schema up to date. Orders accepted through
    /// it are to be told to `destinations`.
    ///
    /// # Errors
    /// The file cannot be opened or written, or a newer version wrote it.
    pub fn open(path: &Path, destinations: &[String]) -> Result<Self, StoreFault> {
        Ok(Self { connection: connect(path)?, destinations: destinations.join(",") })
    }
}

/// A connection to the file, which is created if absent and brought up to date.
fn connect(path: &Path) -> Result<Connection, StoreFault> {
    let mut connection = Connection::open(path)
        .map_err(|fault| StoreFault::Database(format!("cannot open {}: {fault}", path.display())))?;
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
fn migrate(connection: &mut Connection) -> Result<(), StoreFault> {
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
    async fn commit(&mut self, batch: &Batch) -> Result<Done, StoreFault> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut numbers = Numbers::take(&transaction, batch)?;
        let mut done = Done { stored: Vec::with_capacity(batch.orders.len()), settled: Vec::new() };
        for placed in &batch.orders {
            done.stored.push(accept(&transaction, placed, &self.destinations, &mut numbers)?);
        }
        for outcome in &batch.outcomes {
            if record(&transaction, outcome, &mut numbers)? {
                done.settled.push(outcome.order_id);
            }
        }
        transaction.commit()?;
        Ok(done)
    }

    async fn probe(&mut self) -> Result<(), StoreFault> {
        // The version that is there already: a page is written and flushed all the same.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.pragma_update(None, "user_version", known_version())?;
        transaction.commit()?;
        Ok(())
    }

    async fn order(&mut self, order_id: OrderId) -> Result<Option<Known>, StoreFault> {
        // One read transaction, so that order and outcomes are of one moment.
        let transaction = self.connection.transaction()?;
        let Some((event, destinations)) = stored_order(&transaction, order_id)? else { return Ok(None) };
        let mut statement =
            transaction.prepare_cached("SELECT outcome, status = 'pending' FROM deliveries WHERE order_id = ?1")?;
        let outcomes = statement
            .query_map(params![order_id.0], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?
            .map(|row| {
                let (json, redriving) = row?;
                Ok(Recorded { outcome: parse_outcome(&json)?, redriving })
            })
            .collect::<Result<_, StoreFault>>()?;
        let destinations = names(&destinations);
        Ok(Some(Known { event, destinations, outcomes }))
    }

    async fn outbox(&mut self, after: Place, limit: u32) -> Result<Vec<Entry>, StoreFault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT place, event, traceparent FROM pending JOIN orders USING (order_id)
             WHERE place > ?1 ORDER BY place LIMIT ?2",
        )?;
        let rows = statement.query_map(params![signed(after), limit], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?))
        })?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for row in rows {
            let (place, body, traceparent) = row?;
            let event = parse_event(&body)?;
            bytes += body.len();
            entries.push(Entry {
                place: unsigned(place),
                event_id: event.event_id,
                order_id: event.order_id,
                correlation_id: event.correlation_id.as_str().to_owned(),
                trace: TraceParent::parse(&traceparent).unwrap_or_else(TraceParent::root),
                accepted_at: event.occurred_at,
                body: body.into(),
            });
            if bytes >= OUTBOX_BYTES {
                break;
            }
        }
        Ok(entries)
    }

    async fn backlog(&mut self) -> Result<Backlog, StoreFault> {
        let transaction = self.connection.transaction()?;
        let (published_up_to, last): (i64, i64) =
            transaction
                .query_row("SELECT published_up_to, last_place FROM line", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (events, first): (i64, Option<i64>) = transaction.query_row(
            "SELECT count(*), min(place) FROM pending WHERE place > ?1",
            params![published_up_to],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let oldest_at: Option<i64> = transaction
            .query_row(
                "SELECT created_at FROM orders JOIN pending USING (order_id) WHERE place = ?1",
                params![first],
                |row| row.get(0),
            )
            .optional()?;
        Ok(Backlog {
            events: unsigned(events),
            published_up_to: unsigned(published_up_to),
            last: unsigned(last),
            oldest_at: oldest_at.and_then(|micros| Timestamp::from_microsecond(micros).ok()),
        })
    }
}

/// The numbers that one transaction gives out.
struct Numbers {
    place: i64,
    change: i64,
}

impl Numbers {
    /// Sets aside as many as the batch can need, and notes how far the outbox is published.
    fn take(transaction: &Transaction<'_>, batch: &Batch) -> Result<Self, StoreFault> {
        Self::reserve(transaction, batch.orders.len(), batch.outcomes.len(), batch.published_up_to.map_or(0, signed))
    }

    fn reserve(
        transaction: &Transaction<'_>,
        places: usize,
        changes: usize,
        published_up_to: i64,
    ) -> Result<Self, StoreFault> {
        let [places, changes] = [places, changes].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let (last_place, last_change): (i64, i64) = transaction
            .prepare_cached(
                "UPDATE line SET last_place = last_place + ?1, last_change = last_change + ?2,
                 published_up_to = max(published_up_to, ?3) RETURNING last_place, last_change",
            )?
            .query_row(params![places, changes, published_up_to], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self { place: last_place - places, change: last_change - changes })
    }

    fn next_place(&mut self) -> i64 {
        self.place += 1;
        self.place
    }

    fn next_change(&mut self) -> i64 {
        self.change += 1;
        self.change
    }
}

/// Order, outbox and idempotency key, in the caller's transaction.
fn accept(
    transaction: &Transaction<'_>,
    placed: &Placed,
    destinations: &str,
    numbers: &mut Numbers,
) -> Result<Stored, StoreFault> {
    if let Some(idempotency) = &placed.idempotency
        && let Some(earlier) = earlier(transaction, idempotency)?
    {
        return Ok(earlier);
    }
    let event = &placed.event;
    let body = event.encode().map_err(|fault| StoreFault::Database(format!("cannot encode an event: {fault}")))?;
    transaction
        .prepare_cached(
            "INSERT INTO orders (order_id, customer_id, created_at, event, traceparent, destinations)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            event.order_id.0,
            event.customer_id.as_str(),
            event.occurred_at.as_microsecond(),
            body,
            placed.trace.to_string(),
            destinations
        ])?;
    let place = numbers.next_place();
    transaction.prepare_cached("INSERT INTO pending (order_id, open, place) VALUES (?1, ?2, ?3)")?.execute(params![
        event.order_id.0,
        destinations,
        place
    ])?;
    if let Some(Idempotency { scope, key, fingerprint, .. }) = &placed.idempotency {
        // The row of an expired key that was not swept yet is the new one's.
        transaction
            .prepare_cached(
                "INSERT INTO idempotency_keys (scope, key, fingerprint, order_id, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (scope, key) DO UPDATE SET fingerprint = excluded.fingerprint,
                 order_id = excluded.order_id, created_at = excluded.created_at",
            )?
            .execute(params![scope, key, fingerprint, event.order_id.0, event.occurred_at.as_microsecond()])?;
    }
    Ok(Stored::New(Box::new(Entry {
        place: unsigned(place),
        event_id: event.event_id,
        order_id: event.order_id,
        correlation_id: event.correlation_id.as_str().to_owned(),
        trace: placed.trace,
        accepted_at: event.occurred_at,
        body: body.into(),
    })))
}

/// What the same key was used for before, where it has not expired.
fn earlier(transaction: &Transaction<'_>, idempotency: &Idempotency) -> Result<Option<Stored>, StoreFault> {
    let known: Option<([u8; 32], Uuid)> = transaction
        .prepare_cached(
            "SELECT fingerprint, order_id FROM idempotency_keys WHERE scope = ?1 AND key = ?2 AND created_at > ?3",
        )?
        .query_row(params![idempotency.scope, idempotency.key, idempotency.expired_up_to.as_microsecond()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((fingerprint, order_id)) = known else { return Ok(None) };
    if fingerprint != idempotency.fingerprint {
        return Ok(Some(Stored::KeyReused));
    }
    let order_id = OrderId(order_id);
    let (event, _) = stored_order(transaction, order_id)?
        .ok_or_else(|| StoreFault::Database(format!("order {order_id} of an idempotency key is missing")))?;
    Ok(Some(Stored::Replayed(Receipt { order_id, correlation_id: event.correlation_id, replayed: true })))
}

/// One ledger row for each delivery, written once in the usual case. Tells whether its order has no
/// pending delivery any more, and had one before.
fn record(transaction: &Transaction<'_>, outcome: &Outcome, numbers: &mut Numbers) -> Result<bool, StoreFault> {
    let change = numbers.next_change();
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO deliveries (order_id, destination, status, change, outcome) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (order_id, destination) DO NOTHING",
        )?
        .execute(params![
            outcome.order_id.0,
            outcome.destination,
            outcome.status.as_str(),
            change,
            to_json(outcome)?
        ])?;
    let ended = inserted == 1 || record_again(transaction, outcome, change)?;
    if let Some(dead_letter) = outcome.dead_letter {
        redrives::ended(transaction, dead_letter, outcome.status)?;
    }
    if ended { close(transaction, outcome) } else { Ok(false) }
}

/// A further report of a delivery of which one is known. Tells whether the delivery was pending and
/// has ended with it: while its dead letter is being sent again, it ends with the outcome of that, or
/// with whatever delivers it.
fn record_again(transaction: &Transaction<'_>, outcome: &Outcome, change: i64) -> Result<bool, StoreFault> {
    let (known, pending, redriven): (String, bool, Option<Uuid>) = transaction
        .prepare_cached(
            "SELECT outcome, status = 'pending', dead_letter FROM deliveries WHERE order_id = ?1 AND destination = ?2",
        )?
        .query_row(params![outcome.order_id.0, outcome.destination], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let truth = match parse_outcome(&known) {
        Ok(known) => merge(known, outcome.clone()),
        Err(fault) => {
            // Failing here would fail every order that shares this transaction, for ever.
            tracing::error!(order_id = %outcome.order_id, correlation_id = %outcome.correlation_id, %fault, "replaced");
            outcome.clone()
        }
    };
    let delivered = outcome.status == OutcomeStatus::Delivered;
    let runs_on = pending && !delivered && outcome.dead_letter != redriven;
    let status = if runs_on { "pending" } else { truth.status.as_str() };
    transaction
        .prepare_cached(
            "UPDATE deliveries SET status = ?3, dead_letter = ?4, change = ?5, outcome = ?6
             WHERE order_id = ?1 AND destination = ?2",
        )?
        .execute(params![
            truth.order_id.0,
            truth.destination,
            status,
            redriven.filter(|_| runs_on),
            change,
            to_json(&truth)?
        ])?;
    if !runs_on {
        dead_letters::correct(transaction, &truth)?;
    }
    Ok(pending && !runs_on)
}

/// Takes a delivery that has ended from those that are pending. Tells whether it was the last.
fn close(transaction: &Transaction<'_>, outcome: &Outcome) -> Result<bool, StoreFault> {
    let open: Option<String> = transaction
        .prepare_cached("SELECT open FROM pending WHERE order_id = ?1")?
        .query_row(params![outcome.order_id.0], |row| row.get(0))
        .optional()?;
    let Some(open) = open else { return Ok(false) };
    let rest: Vec<_> = open.split(',').filter(|name| *name != outcome.destination).collect();
    if rest.is_empty() {
        transaction.prepare_cached("DELETE FROM pending WHERE order_id = ?1")?.execute(params![outcome.order_id.0])?;
    } else {
        transaction
            .prepare_cached("UPDATE pending SET open = ?2 WHERE order_id = ?1")?
            .execute(params![outcome.order_id.0, rest.join(",")])?;
    }
    Ok(rest.is_empty())
}

/// The names in a list of destinations.
fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}

/// An order as its event, and who was to be told.
fn stored_order(
    transaction: &Transaction<'_>,
    order_id: OrderId,
) -> Result<Option<(OrderCreated, String)>, StoreFault> {
    let stored: Option<(Vec<u8>, String)> = transaction
        .prepare_cached("SELECT event, destinations FROM orders WHERE order_id = ?1")?
        .query_row(params![order_id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    stored.map(|(body, destinations)| Ok((parse_event(&body)?, destinations))).transpose()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Scratch, conformance},
        *,
    };

    macro_rules! conforms {
        ($($name:ident),* $(,)?) => {
            $(
                #[tokio::test]
                async fn $name() {
                    let scratch = Scratch::new();
                    conformance::$name(&mut scratch.open()).await;
                }
            )*
        };
    }

    conforms!(
        an_accepted_order_waits_in_the_outbox_until_it_is_marked,
        one_key_is_one_order,
        the_ledger_tells_one_truth,
        a_failed_transaction_stores_nothing,
    );

    #[test]
    fn a_commit_is_flushed_to_the_disk_before_it_returns() {
        let scratch = Scratch::new();
        let connection = scratch.open().connection;
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let full: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), full), ("wal", 2));
    }

    #[tokio::test]
    async fn a_place_is_never_given_twice() {
        let scratch = Scratch::new();
        let mut store = scratch.open();
        conformance::an_accepted_order_waits_in_the_outbox_until_it_is_marked(&mut store).await;
        let before = store.backlog().await.unwrap().last;
        store.connection.execute_batch("DELETE FROM pending; DELETE FROM orders").unwrap();
        assert_eq!(store.backlog().await.unwrap().last, before);
    }

    #[test]
    fn a_newer_schema_is_refused_and_a_known_one_is_opened_again() {
        let scratch = Scratch::new();
        drop(scratch.open());
        let store = scratch.open();
        store.connection.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Sqlite::open(scratch.path(), &[]), Err(StoreFault::NewerSchema { found: 99, .. })));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let Err(fault) = Sqlite::open(Path::new("/nowhere/tandem.db"), &[]) else { panic!("opened") };
        assert!(fault.to_string().contains("/nowhere/tandem.db"), "{fault}");
    }
}
