//! Recording outcomes: the ledger, and the orders that are no longer pending. A whole group with each
//! statement, in the transaction of the caller.

use std::collections::BTreeMap;

use common::outcome::Outcome;
use uuid::Uuid;

use super::{dead_letters, redrives, session::Session};
use crate::{
    StoreFault,
    columns::{json, parse_outcome},
    fault::Fault,
    rules::{ends, merge_stored, redrive_ends},
};

/// In the order of orders and destinations, so that two producers with the same ones wait for each
/// other in turn and not in a circle.
const INSERT: &str = "
    INSERT INTO deliveries (order_id, destination, status, outcome)
    SELECT order_id, destination, status, outcome
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS new (order_id, destination, status, outcome)
    ON CONFLICT (order_id, destination) DO NOTHING";

/// What is known already of these orders. Rows of this transaction were inserted just now.
const KNOWN: &str = "
    SELECT order_id, destination, outcome, recorded = pg_current_xact_id(), status = 'pending', dead_letter FROM deliveries
    WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, destination FOR UPDATE";

const UPDATE: &str = "
    UPDATE deliveries
    SET status = new.status, dead_letter = CASE new.status WHEN 'pending' THEN deliveries.dead_letter END,
        outcome = new.outcome, recorded = pg_current_xact_id(), change = nextval('changes')
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS new (order_id, destination, status, outcome)
    WHERE deliveries.order_id = new.order_id AND deliveries.destination = new.destination";

/// The orders whose pending deliveries have all ended with this transaction: no other producer can have
/// recorded one of them, so no other has the row.
const CLOSE: &str = "
    DELETE FROM pending USING unnest($1::uuid[], $2::text[]) AS ended (order_id, destinations)
    WHERE pending.order_id = ended.order_id AND pending.open <@ string_to_array(ended.destinations, ',')
    RETURNING pending.order_id";

/// Of the others, some have ended. Another producer that records the rest at the same moment holds
/// the row, or waits for it: the second one sees what the first has left.
const CLOSE_PART: &str = "
    UPDATE pending
    SET open = ARRAY(SELECT name FROM unnest(open) AS name WHERE name <> ALL (string_to_array(ended.destinations, ',')))
    FROM unnest($1::uuid[], $2::text[]) AS ended (order_id, destinations)
    WHERE pending.order_id = ended.order_id
    RETURNING pending.order_id, open = '{}'";

/// If the first has left only what ended here, nothing is left.
const REMOVE: &str = "DELETE FROM pending WHERE order_id = ANY($1::uuid[]) AND open = '{}'";

/// What the writer's session prepares.
pub(super) const STATEMENTS: &[&str] = &[INSERT, KNOWN, UPDATE, dead_letters::CORRECT, CLOSE, CLOSE_PART, REMOVE];

/// Outcomes of a batch: of each delivery the first report, in the order of the table, and all others.
pub(super) struct Outcomes<'a> {
    first: Vec<&'a Outcome>,
    /// In the order in which they came.
    further: Vec<&'a Outcome>,
}

/// The reports of each delivery.
type ByDelivery<'a> = BTreeMap<(Uuid, &'a str), Vec<&'a Outcome>>;

/// Records outcomes in the caller's transaction.
///
/// After the commit, a caller at the desk notifies those who wait for the orders, here and at other
/// producers.
pub(crate) async fn record(session: &Session, outcomes: &[Outcome]) -> Result<(), Fault> {
    let outcomes = Outcomes::new(outcomes);
    let inserted = outcomes.insert(session).await?;
    let ended = outcomes.merge(session, inserted).await?;
    close(session, &ended).await
}

impl<'a> Outcomes<'a> {
    pub(super) fn new(outcomes: &'a [Outcome]) -> Self {
        let mut first: Vec<_> = outcomes.iter().collect();
        // Stable: of reports of the same delivery, the first stays the first.
        first.sort_by(|a, b| delivery(a).cmp(&delivery(b)));
        let mut further = Vec::new();
        first.dedup_by(|later, first| {
            let again = delivery(later) == delivery(first);
            if again {
                further.push(*later);
            }
            again
        });
        Self { first, further }
    }

    /// Inserts deliveries that were not reported before. Returns how many those are.
    pub(super) async fn insert(&self, session: &Session) -> Result<u64, Fault> {
        if self.first.is_empty() {
            return Ok(0);
        }
        let columns = Columns::of(self.first.iter().copied())?;
        columns.run(session, INSERT).await
    }

    /// Merges those that were reported before. Returns which deliveries have ended with this transaction.
    pub(super) async fn merge(&self, session: &Session, inserted: u64) -> Result<Vec<(Uuid, &'a str)>, Fault> {
        redrives::end(session, redrive_ends(self.first.iter().chain(&self.further).copied())).await?;
        let all_new = usize::try_from(inserted).ok() == Some(self.first.len());
        if all_new && self.further.is_empty() {
            return Ok(self.first.iter().map(|outcome| delivery(outcome)).collect());
        }
        let mut reported = ByDelivery::new();
        for outcome in self.first.iter().chain(&self.further) {
            reported.entry(delivery(outcome)).or_default().push(outcome);
        }
        let order_ids: Vec<_> = self.first.iter().map(|outcome| outcome.order_id.0).collect();
        let mut ended = Vec::with_capacity(self.first.len());
        let mut truths = Vec::new();
        for row in session.query(KNOWN, &[&order_ids]).await? {
            let (order_id, destination): (Uuid, &str) = (row.try_get(0)?, row.try_get(1)?);
            let Some(reports) = reported.get(&(order_id, destination)) else { continue };
            let new: bool = row.try_get(3)?;
            if new {
                ended.extend(reports.first().map(|outcome| delivery(outcome)));
            }
            // The first report of a new row is the row.
            let further = &reports[usize::from(new)..];
            if further.is_empty() {
                continue;
            }
            let (mut pending, redriven): (bool, Option<Uuid>) = (row.try_get(4)?, row.try_get(5)?);
            let mut truth = parse_outcome(row.try_get(2)?);
            for outcome in further {
                if pending && ends(redriven, outcome) {
                    pending = false;
                    ended.push(delivery(outcome));
                }
                truth = Ok(merge_stored(truth, outcome));
            }
            truths.push((truth?, pending));
        }
        if !truths.is_empty() {
            let mut columns = Columns::of(truths.iter().map(|(truth, _)| truth))?;
            for (status, (_, pending)) in columns.statuses.iter_mut().zip(&truths) {
                if *pending {
                    *status = "pending";
                }
            }
            columns.run(session, UPDATE).await?;
            let ended_truths: Vec<_> =
                truths.into_iter().filter(|(_, pending)| !pending).map(|(truth, _)| truth).collect();
            dead_letters::correct(session, &ended_truths).await?;
        }
        Ok(ended)
    }
}

/// Removes deliveries that have ended, in the order of the table, from those that are pending.
pub(super) async fn close(session: &Session, ended: &[(Uuid, &str)]) -> Result<(), Fault> {
    if ended.is_empty() {
        return Ok(());
    }
    let mut order_ids: Vec<Uuid> = Vec::with_capacity(ended.len());
    let mut destinations: Vec<String> = Vec::with_capacity(ended.len());
    for order in ended.chunk_by(|a, b| a.0 == b.0) {
        order_ids.extend(order.first().map(|(order_id, _)| order_id));
        // A name holds no comma.
        destinations.push(order.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(","));
    }
    let mut closed = Vec::with_capacity(order_ids.len());
    for row in session.query(CLOSE, &[&order_ids, &destinations]).await? {
        closed.push(row.try_get::<_, Uuid>(0)?);
    }
    if closed.len() < order_ids.len() {
        closed.sort_unstable();
        let (order_ids, destinations): (Vec<Uuid>, Vec<String>) = order_ids
            .into_iter()
            .zip(destinations)
            .filter(|(order_id, _)| closed.binary_search(order_id).is_err())
            .unzip();
        let mut empty = Vec::new();
        for row in session.query(CLOSE_PART, &[&order_ids, &destinations]).await? {
            if row.try_get(1)? {
                empty.push(row.try_get::<_, Uuid>(0)?);
            }
        }
        if !empty.is_empty() {
            session.execute(REMOVE, &[&empty]).await?;
        }
    }
    Ok(())
}

fn delivery(outcome: &Outcome) -> (Uuid, &str) {
    (outcome.order_id.0, outcome.destination.as_str())
}

/// Outcomes as the columns of a statement.
struct Columns<'a> {
    order_ids: Vec<Uuid>,
    destinations: Vec<&'a str>,
    statuses: Vec<&'static str>,
    outcomes: Vec<String>,
}

impl<'a> Columns<'a> {
    fn of(outcomes: impl ExactSizeIterator<Item = &'a Outcome>) -> Result<Self, StoreFault> {
        let count = outcomes.len();
        let mut columns = Self {
            order_ids: Vec::with_capacity(count),
            destinations: Vec::with_capacity(count),
            statuses: Vec::with_capacity(count),
            outcomes: Vec::with_capacity(count),
        };
        for outcome in outcomes {
            columns.order_ids.push(outcome.order_id.0);
            columns.destinations.push(outcome.destination.as_str());
            columns.statuses.push(outcome.status.as_str());
            columns.outcomes.push(json(outcome)?);
        }
        Ok(columns)
    }

    async fn run(&self, session: &Session, text: &'static str) -> Result<u64, Fault> {
        session.execute(text, &[&self.order_ids, &self.destinations, &self.statuses, &self.outcomes]).await
    }
}
