//! Postgres, for many producers on one database.
//!
//! The way of an order takes a constant number of statements for a whole group. Each producer gives out
//! places in a [`line`] of its own under a lease of the server's clock, so that its relay reads its own
//! orders alone; the line of one that has ended is taken over by the others. Producers tell each
//! other's watchers what was recorded by [`news`].

mod accept;
mod address;
mod commit;
mod dead_letters;
mod desk;
mod fault;
mod line;
mod link;
mod migrate;
mod news;
mod order_lists;
mod reconciliation;
mod record;
mod redrives;
#[cfg(test)]
mod scratch;
mod session;
#[cfg(test)]
mod several;
mod tls;
mod upkeep;

use std::time::Duration;

use common::{destination::Name, order::OrderId};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use address::PostgresAddress;
pub use desk::PostgresDesk;
#[cfg(test)]
pub(crate) use scratch::PostgresScratch;

use self::{
    accept::Orders,
    fault::{Fault, Remedy},
    line::{Line, Owner},
    link::Link,
    news::News,
    record::Outcomes,
    session::{Purpose, Server},
};
use super::{
    Acceptance, Adopted, Backend, Backlog, Batch, Known, OutboxEntry, Position, Recorded, StoreFault,
    columns::{parse_event, parse_names, parse_outcome, signed, unsigned},
};
use crate::Watch;

/// How often a transaction that another one was in the way of is tried.
const TRIES: usize = 4;
/// How long a transaction may take, all tries included.
const COMMIT_WITHIN: Duration = Duration::from_secs(20);
/// How long a look at the tables may take.
const READ_WITHIN: Duration = Duration::from_secs(9);
/// How long the last word may take.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);
/// A page of the outbox ends after so many bytes, whatever was asked for.
const OUTBOX_BYTES: i64 = 4 * 1_024 * 1_024;

const BEGIN: &str = "BEGIN";

const ORDER: &str = "SELECT event, destinations FROM orders WHERE order_id = $1";
const OUTCOMES: &str = "SELECT outcome, status = 'pending' FROM deliveries WHERE order_id = $1";

const OUTBOX: &str = "
    SELECT place, event, traceparent FROM (
        SELECT place, event, traceparent,
            sum(octet_length(event)) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING) - octet_length(event) AS before
        FROM (
            SELECT place, event, traceparent FROM pending JOIN orders USING (order_id)
            WHERE owner = $1 AND place > $2 ORDER BY place LIMIT $3
        ) AS page
    ) AS measured
    WHERE before < $4 ORDER BY place";

const BACKLOG: &str = "
    SELECT published_up_to, last_place,
        (SELECT count(*) FROM pending WHERE owner = $1 AND place > published_up_to),
        (SELECT created_at FROM pending JOIN orders USING (order_id)
            WHERE owner = $1 AND place > published_up_to ORDER BY place LIMIT 1)
    FROM lines WHERE owner = $1";

const WRITER: Purpose = Purpose {
    name: "writer",
    by_key: true,
    statements: &{
        let [a, b, c, d, e, f] = line::STATEMENTS;
        let [g, h, i] = accept::STATEMENTS;
        let [j, k, l, m, n, o, p] = record::STATEMENTS;
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    },
};
const READER: Purpose = Purpose { name: "reader", by_key: true, statements: &[ORDER, OUTCOMES, OUTBOX, BACKLOG] };
/// Once, at the start.
const MIGRATION: Purpose = Purpose { name: "migration", by_key: false, statements: &[] };

/// One connection to a Postgres database.
pub struct Postgres {
    link: Link,
    line: Line,
    owner: Owner,
    /// Who is told of the orders that are accepted now.
    destinations: Vec<String>,
    news: News,
    /// When the lease was renewed last.
    renewed_at: Option<Instant>,
}

/// What the parts of one producer share.
#[derive(Clone)]
pub(super) struct Shared {
    server: Server,
    owner: Owner,
    news: News,
}

impl Shared {
    /// Reaches the database and brings it up to date. Connections become tasks of `tasks`.
    ///
    /// # Errors
    /// It cannot be reached, or a newer version wrote it.
    pub(super) async fn open(address: PostgresAddress, tasks: &TaskTracker) -> Result<Self, StoreFault> {
        let place = address.place();
        let server = Server::new(address, tasks.clone())?;
        let session = server.open(MIGRATION, None).await.map_err(|fault| {
            let text = fault.text();
            StoreFault::Database(format!("DATABASE_URL: the database {place} cannot be used: {text}"))
        })?;
        migrate::migrate(&session).await?;
        Ok(Self { server, owner: Owner::default(), news: News::default() })
    }

    /// The writer's connection, which accepts orders for `destinations`.
    pub(super) fn writer(&self, destinations: &[Name]) -> Postgres {
        self.backend(WRITER, destinations)
    }

    /// The reader's.
    pub(super) fn reader(&self) -> Postgres {
        self.backend(READER, &[])
    }

    /// The desk.
    pub(super) fn desk(&self) -> PostgresDesk {
        PostgresDesk::new(self.clone())
    }

    /// Exchanges news with other producers until `ended`.
    pub(super) fn news(&self, watch: Watch, ended: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        self.news.clone().run(self.server.clone(), watch, ended)
    }

    fn backend(&self, purpose: Purpose, destinations: &[Name]) -> Postgres {
        Postgres {
            link: Link::new(self.server.clone(), purpose),
            line: Line::new(self.owner.clone()),
            owner: self.owner.clone(),
            destinations: destinations.iter().map(Name::to_string).collect(),
            news: self.news.clone(),
            renewed_at: None,
        }
    }
}

impl Backend for Postgres {
    const TICK: Option<Duration> = Some(line::TICK);

    async fn commit(&mut self, batch: &Batch) -> Result<Vec<Acceptance>, StoreFault> {
        if batch.orders.is_empty() && batch.outcomes.is_empty() && batch.published_up_to.is_none() {
            return Ok(Vec::new());
        }
        let orders = Orders::new(&batch.orders);
        let outcomes = Outcomes::new(&batch.outcomes);
        let committing = self.commit_in_time(batch, &orders, &outcomes);
        match timeout(COMMIT_WITHIN, committing).await {
            Ok(committed) => committed,
            Err(_) => {
                self.link.lose();
                self.leave_in_doubt(batch);
                Err(Fault::overdue().into())
            }
        }
    }

    async fn probe(&mut self) -> Result<(), StoreFault> {
        self.tick().await.map(|_| ())
    }

    async fn order(&mut self, order_id: OrderId) -> Result<Option<Known>, StoreFault> {
        let session = self.link.session().await?;
        let parameters: session::Parameters<'_> = &[&order_id.0];
        // The order first: of one that is found, everything recorded before it was asked for is told.
        let read = timeout(READ_WITHIN, async {
            tokio::try_join!(biased; session.query_first(ORDER, parameters), session.query(OUTCOMES, parameters))
        });
        let read = read.await;
        let (order, outcomes) = self.answered(read)?;
        let Some(order) = order else { return Ok(None) };
        let event = parse_event(order.try_get(0).map_err(Fault::from)?)?;
        let destinations = parse_names(order.try_get::<_, Vec<&str>>(1).map_err(Fault::from)?)?;
        let outcomes = outcomes
            .iter()
            .map(|row| {
                let outcome = parse_outcome(row.try_get(0).map_err(Fault::from)?)?;
                Ok(Recorded { outcome, redriving: row.try_get(1).map_err(Fault::from)? })
            })
            .collect::<Result<_, StoreFault>>()?;
        Ok(Some(Known { event, destinations, outcomes }))
    }

    async fn outbox(&mut self, after: Position, limit: u32) -> Result<Vec<OutboxEntry>, StoreFault> {
        let Some(owner) = self.owner.get() else { return Ok(Vec::new()) };
        let session = self.link.session().await?;
        let (after, limit) = (signed(after), i64::from(limit));
        let parameters: session::Parameters<'_> = &[&owner, &after, &limit, &OUTBOX_BYTES];
        let read = timeout(READ_WITHIN, session.query(OUTBOX, parameters)).await;
        let rows = self.answered(read)?;
        let entry = |row: &tokio_postgres::Row| {
            let position: i64 = row.try_get(0)?;
            Ok::<_, Fault>(OutboxEntry::stored(unsigned(position), row.try_get(1)?, row.try_get(2)?)?)
        };
        Ok(rows.iter().map(entry).collect::<Result<_, _>>()?)
    }

    async fn backlog(&mut self) -> Result<Backlog, StoreFault> {
        let Some(owner) = self.owner.get() else { return Ok(Backlog::default()) };
        let session = self.link.session().await?;
        let read = timeout(READ_WITHIN, session.query_first(BACKLOG, &[&owner])).await;
        let Some(row) = self.answered(read)? else { return Ok(Backlog::default()) };
        let number = |column| row.try_get::<_, i64>(column).map(unsigned).map_err(Fault::from);
        let oldest_at: Option<i64> = row.try_get(3).map_err(Fault::from)?;
        Ok(Backlog {
            published_up_to: number(0)?,
            last: number(1)?,
            events: number(2)?,
            oldest_at: oldest_at.and_then(|micros| Timestamp::from_microsecond(micros).ok()),
        })
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
        let Some(session) = self.link.standing() else { return };
        match timeout(RELEASE_WITHIN, self.line.release(session)).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::warn!(fault = %StoreFault::from(fault), "others take over after the lease"),
            Err(_) => tracing::warn!("the database did not answer in time: others take over after the lease"),
        }
    }
}

impl Postgres {
    async fn try_tick(&mut self) -> Result<Adopted, Fault> {
        let session = self.link.session().await?;
        let owner = self.line.owner(session).await?;
        let last = self.line.last();
        let advance: session::Parameters<'_> = &[&owner, &last, &0_i64, &line::LEASE];
        let ((), line) = tokio::try_join!(biased; session.batch(BEGIN), session.query_first(line::ADVANCE, advance))?;
        let Some(line) = line else {
            self.line.lose();
            return Err(Fault::new(Remedy::Repeat, "another producer took this one's line over"));
        };
        let others = line.try_get(0)?;
        let taken_over = self.line.take_over(session, owner).await?;
        session.commit().await?;
        self.renewed(others);
        if taken_over.rows > 0 {
            tracing::info!(events = taken_over.rows, "took over the outbox of a producer that has ended");
        }
        Ok(Adopted { events: unsigned(taken_over.rows), last: unsigned(self.line.last()), more: taken_over.more })
    }

    /// Leaves the session without a transaction, or drops it.
    async fn recover(&mut self, fault: &Fault) {
        let rolled_back = match self.link.standing() {
            Some(session) if fault.remedy != Remedy::Reconnect => session.rollback().await.is_ok(),
            _ => false,
        };
        if !rolled_back {
            self.link.lose();
        }
    }

    /// A connection that gave no answer is given up, for another one.
    fn answered<T>(&mut self, read: Result<Result<T, Fault>, tokio::time::error::Elapsed>) -> Result<T, StoreFault> {
        let read = read.unwrap_or_else(|_| Err(Fault::overdue()));
        if read.as_ref().is_err_and(|fault| fault.remedy == Remedy::Reconnect) {
            self.link.lose();
        }
        Ok(read?)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{conformance, conformance_lists},
        *,
    };

    macro_rules! conforms {
        ($($name:ident),* $(,)?) => {
            $(
                #[tokio::test]
                async fn $name() {
                    conformance::$name(&mut PostgresScratch::new().await.open()).await;
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

    macro_rules! lists_conform {
        ($($name:ident),* $(,)?) => {
            $(
                #[tokio::test]
                async fn $name() {
                    let scratch = PostgresScratch::new().await;
                    let desk = scratch.postgres_desk();
                    conformance_lists::$name(&mut scratch.open(), &desk).await;
                }
            )*
        };
    }

    lists_conform!(
        every_combination_of_filters_lists_what_fits,
        pages_are_stable_while_orders_come,
        the_feed_is_in_the_order_of_commits,
        an_expired_key_is_as_good_as_new,
        only_old_orders_that_are_delivered_everywhere_are_removed,
    );

    #[tokio::test]
    async fn a_newer_schema_is_refused_and_a_known_one_is_opened_again() {
        let scratch = PostgresScratch::new().await;
        scratch.open_another().await;
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
