//! Recording what is reported: the ledger, what waits, and the orders that are no longer pending. A whole group with each
//! statement, in the transaction of the caller.

use std::collections::BTreeMap;

use common::outcome::OutcomeStatus;
use uuid::Uuid;

use super::{dead_letters, redrives, session::Session, waiting};
use crate::{
    StoreFault,
    columns::{json, parse_entry},
    fault::Fault,
    rules::{Delivery, Died, Line, Taken, Wait, redrive_ends},
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
pub(super) const STATEMENTS: &[&str] =
    &[INSERT, KNOWN, UPDATE, dead_letters::CORRECT, waiting::BEGIN, waiting::END, CLOSE, CLOSE_PART, REMOVE];

/// Lines of reports: of each delivery the first, in the order of the table, and all others.
pub(super) struct Lines<'a> {
    first: Vec<Line<'a>>,
    /// In the order in which they came.
    further: Vec<Line<'a>>,
}

/// What lines have made of deliveries, in the order of the table.
#[derive(Default)]
pub(super) struct Recorded<'a> {
    /// Those that have ended with this transaction.
    pub(super) ended: Vec<(Uuid, &'a str)>,
    /// Those of them that have become dead letters, for the caller to list.
    pub(super) died: Vec<Died>,
    waits: Vec<Wait<'a>>,
}

/// The lines of each delivery.
type ByDelivery<'a> = BTreeMap<(Uuid, &'a str), Vec<Line<'a>>>;

/// Records lines in the caller's transaction. Returns which deliveries have become dead letters, for the caller to
/// list.
///
/// After the commit, a caller at the desk notifies those who wait for the orders, here and at other
/// producers.
pub(crate) async fn record(session: &Session, lines: &[Line<'_>]) -> Result<Vec<Died>, Fault> {
    let lines = Lines::new(lines.to_vec());
    let inserted = lines.insert(session).await?;
    let recorded = lines.merge(session, inserted).await?;
    close(session, &recorded.ended).await?;
    Ok(recorded.died)
}

impl<'a> Recorded<'a> {
    /// What a line has made of a delivery.
    fn add(&mut self, delivery: &Delivery, taken: Taken<'a>) {
        match taken {
            Taken::Noted => {}
            Taken::Ended(outcome) => {
                self.ended.push(Line::Ended(outcome).delivery());
                self.died.extend(Died::of(delivery, outcome));
            }
            Taken::HandedOver(wait) => self.waits.push(wait),
        }
    }
}

impl<'a> Lines<'a> {
    pub(super) fn new(mut first: Vec<Line<'a>>) -> Self {
        // Stable: of lines of the same delivery, the first stays the first.
        first.sort_by(|a, b| a.delivery().cmp(&b.delivery()));
        let mut further = Vec::new();
        first.dedup_by(|later, first| {
            let again = later.delivery() == first.delivery();
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
        let mut columns = Columns::with_capacity(self.first.len());
        for line in &self.first {
            match line {
                Line::Ended(outcome) => columns.push(*line, outcome.status.as_str(), json(outcome)?),
                Line::Waits(_) => {
                    let (delivery, _) = Delivery::begin(*line);
                    columns.push(*line, delivery.status(), json(&delivery.entry)?);
                }
            }
        }
        columns.run(session, INSERT).await
    }

    /// Merges those that were reported before.
    pub(super) async fn merge(&self, session: &Session, inserted: u64) -> Result<Recorded<'a>, Fault> {
        let lines = || self.first.iter().chain(&self.further);
        redrives::end(session, redrive_ends(lines())).await?;
        let mut recorded = Recorded::default();
        let all_new = usize::try_from(inserted).ok() == Some(self.first.len());
        if all_new && self.further.is_empty() {
            for line in &self.first {
                match line {
                    // The usual case needs no copy of the outcome.
                    Line::Ended(outcome) if outcome.status == OutcomeStatus::Delivered => {
                        recorded.ended.push(line.delivery());
                    }
                    line => {
                        let (delivery, taken) = Delivery::begin(*line);
                        recorded.add(&delivery, taken);
                    }
                }
            }
        } else {
            self.merge_known(session, &mut recorded).await?;
        }
        waiting::begin(session, &recorded.waits).await?;
        Ok(recorded)
    }

    async fn merge_known(&self, session: &Session, recorded: &mut Recorded<'a>) -> Result<(), Fault> {
        let mut reported = ByDelivery::new();
        for line in self.first.iter().chain(&self.further) {
            reported.entry(line.delivery()).or_default().push(*line);
        }
        let order_ids: Vec<_> = self.first.iter().map(|line| line.delivery().0).collect();
        let mut known = Vec::new();
        for row in session.query(KNOWN, &[&order_ids]).await? {
            let (order_id, destination): (Uuid, &str) = (row.try_get(0)?, row.try_get(1)?);
            let Some(lines) = reported.get(&(order_id, destination)) else { continue };
            let new: bool = row.try_get(3)?;
            // The first line of a new row is the row.
            let (mut delivery, mut taken, further) = match lines.split_first() {
                Some((first, further)) if new => {
                    let (delivery, taken) = Delivery::begin(*first);
                    (delivery, taken, further)
                }
                _ => {
                    let stored =
                        Delivery::stored(parse_entry(row.try_get(2)?), row.try_get(4)?, row.try_get(5)?, lines);
                    let Some(delivery) = stored else { continue };
                    (delivery, Taken::Noted, lines.as_slice())
                }
            };
            for line in further {
                match delivery.take(*line) {
                    Taken::Noted => {}
                    // Of a delivery that has ended, later lines say nothing more.
                    now => taken = now,
                }
            }
            recorded.add(&delivery, taken);
            if !further.is_empty() {
                known.push(delivery);
            }
        }
        if known.is_empty() {
            return Ok(());
        }
        let mut columns = Columns::with_capacity(known.len());
        for delivery in &known {
            columns.push_entry(delivery)?;
        }
        columns.run(session, UPDATE).await?;
        let ended: Vec<_> = known.into_iter().filter(|delivery| !delivery.pending).map(|known| known.entry).collect();
        if !ended.is_empty() {
            dead_letters::correct(session, &ended).await?;
            waiting::end(session, &ended).await?;
        }
        Ok(())
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

/// Rows of the ledger as the columns of a statement.
struct Columns<'a> {
    order_ids: Vec<Uuid>,
    destinations: Vec<&'a str>,
    statuses: Vec<&'static str>,
    entries: Vec<String>,
}

impl<'a> Columns<'a> {
    fn with_capacity(count: usize) -> Self {
        Self {
            order_ids: Vec::with_capacity(count),
            destinations: Vec::with_capacity(count),
            statuses: Vec::with_capacity(count),
            entries: Vec::with_capacity(count),
        }
    }

    fn push(&mut self, line: Line<'a>, status: &'static str, entry: String) {
        let (order_id, destination) = line.delivery();
        self.order_ids.push(order_id);
        self.destinations.push(destination);
        self.statuses.push(status);
        self.entries.push(entry);
    }

    fn push_entry(&mut self, delivery: &'a Delivery) -> Result<(), StoreFault> {
        self.order_ids.push(delivery.entry.order_id.0);
        self.destinations.push(delivery.entry.destination.as_str());
        self.statuses.push(delivery.status());
        self.entries.push(json(&delivery.entry)?);
        Ok(())
    }

    async fn run(&self, session: &Session, text: &'static str) -> Result<u64, Fault> {
        session.execute(text, &[&self.order_ids, &self.destinations, &self.statuses, &self.entries]).await
    }
}
