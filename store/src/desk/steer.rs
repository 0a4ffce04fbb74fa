//! Ending the wait of a delivery: it is published now, or becomes a dead letter.

use common::{
    destination::Name,
    event::{EventId, Identity},
    order::{CorrelationId, OrderId},
    outcome::{Outcome, OutcomeStatus, Reason},
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Desk,
    collect::parent,
    listing::{INSERT, Listed},
};
use crate::{
    Steered, StoreFault,
    columns::{json, parse_entry, parse_names},
    fault::Fault,
    rules::Published,
    sql::{Row, Sql, Text},
};

const ORDER: Text = Text {
    sqlite: "SELECT destinations FROM orders WHERE order_id = $1",
    postgres: "SELECT array_to_string(destinations, ',') FROM orders WHERE order_id = $1",
};
/// A report that is being recorded is waited for.
const DELIVERY: Text = Text {
    sqlite: "SELECT outcome, status FROM deliveries WHERE order_id = $1 AND destination = $2",
    postgres: "SELECT outcome, status FROM deliveries WHERE order_id = $1 AND destination = $2 FOR UPDATE",
};
const WAIT: Text = Text::of(
    "
    SELECT event_id, dead_letter, correlation_id, traceparent, body FROM waiting
    WHERE order_id = $1 AND destination = $2 AND released_at IS NULL",
);
const DUE_NOW: Text = Text::of(
    "UPDATE waiting SET due = $3 WHERE order_id = $1 AND destination = $2 AND released_at IS NULL AND due > $3",
);
const SHOW: Text = Text::of("UPDATE deliveries SET outcome = $3 WHERE order_id = $1 AND destination = $2");

/// What waits.
struct Waiting {
    identity: Identity,
    dead_letter: Option<Uuid>,
    traceparent: Option<String>,
    body: Vec<u8>,
}

impl Desk {
    /// Ends the wait of a delivery: it is due now.
    pub async fn retry(&self, order_id: OrderId, destination: Name, now: Timestamp) -> Result<Steered, StoreFault> {
        let retry = async move |sql: Sql<'_>| retry(sql, order_id, &destination, now).await;
        let steered = self.operators.write(retry).await?;
        self.steered(steered, order_id);
        Ok(steered)
    }

    /// Ends a delivery that waits as a dead letter.
    pub async fn cancel(&self, order_id: OrderId, destination: Name, now: Timestamp) -> Result<Steered, StoreFault> {
        let cancel = async move |sql: Sql<'_>| cancel(sql, order_id, &destination, now).await;
        let steered = self.operators.write(cancel).await?;
        self.steered(steered, order_id);
        Ok(steered)
    }

    fn steered(&self, steered: Steered, order_id: OrderId) {
        if steered == Steered::Done {
            self.notify(std::iter::once(order_id));
        }
    }
}

/// What waits, and the entry of its delivery; otherwise why nothing does.
async fn find(sql: Sql<'_>, order_id: OrderId, name: &str) -> Result<Result<(Waiting, String), Steered>, Fault> {
    let delivery: Option<(String, String)> =
        sql.first(DELIVERY, &[&order_id.0, &name], |row| Ok((row.get(0)?, row.get(1)?))).await?;
    let Some((entry, status)) = delivery else {
        let destinations = sql.first(ORDER, &[&order_id.0], |row| row.get::<String>(0)).await?;
        let Some(destinations) = destinations else { return Ok(Err(Steered::UnknownOrder)) };
        let known = parse_names(&destinations)?.iter().any(|known| *known == name);
        return Ok(Err(if known { Steered::UnderWay } else { Steered::UnknownDestination }));
    };
    if let Some(ended) = OutcomeStatus::ALL.into_iter().find(|ended| ended.as_str() == status) {
        return Ok(Err(Steered::Ended(ended)));
    }
    let waiting = sql.first(WAIT, &[&order_id.0, &name], |row| waiting(row, order_id)).await?;
    Ok(waiting.map(|waiting| (waiting, entry)).ok_or(Steered::UnderWay))
}

fn waiting(row: &Row<'_>, order_id: OrderId) -> Result<Waiting, Fault> {
    let correlation_id = CorrelationId::parse(row.get(2)?);
    let correlation_id =
        correlation_id.map_err(|_| StoreFault::Database("a stored correlation id cannot be".into()))?;
    let identity = Identity { event_id: EventId(row.get(0)?), order_id, correlation_id };
    Ok(Waiting { identity, dead_letter: row.get(1)?, traceparent: row.get(3)?, body: row.get(4)? })
}

async fn retry(sql: Sql<'_>, order_id: OrderId, name: &Name, now: Timestamp) -> Result<Steered, Fault> {
    let entry = match find(sql, order_id, name.as_str()).await? {
        Ok((_, entry)) => entry,
        Err(steered) => return Ok(steered),
    };
    let mut entry = parse_entry(&entry)?;
    entry.next_attempt_at = Some(now);
    sql.execute(DUE_NOW, &[&order_id.0, &name.as_str(), &now.as_microsecond()]).await?;
    sql.execute(SHOW, &[&order_id.0, &name.as_str(), &json(&entry)?]).await?;
    Ok(Steered::Done)
}

async fn cancel(sql: Sql<'_>, order_id: OrderId, name: &Name, now: Timestamp) -> Result<Steered, Fault> {
    let Waiting { identity, dead_letter, traceparent, body } = match find(sql, order_id, name.as_str()).await? {
        Ok((waiting, _)) => waiting,
        Err(steered) => return Ok(steered),
    };
    let published = Published::by_relay(body, traceparent.as_deref(), &identity);
    let outcome = Outcome {
        event_id: identity.event_id,
        order_id,
        correlation_id: identity.correlation_id,
        destination: name.clone(),
        status: OutcomeStatus::DeadLettered,
        reason: Some(Reason::Cancelled.into()),
        attempts: Vec::new(),
        settled_at: now,
        dead_letter,
    };
    for died in sql.record(&outcome).await? {
        let parent = parent(sql, died.parent).await?;
        if let Some(listed) = Listed::died(died, Some((Published::clone(&published), parent)))? {
            sql.execute(INSERT, &listed.values()).await?;
        }
    }
    Ok(Steered::Done)
}
