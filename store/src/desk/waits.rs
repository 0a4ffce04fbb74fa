//! Deliveries that wait in the store: which are due, and which were published again.

use std::ops::ControlFlow;

use common::{destination::Name, event::EventId, order::OrderId, trace_context::TraceParent};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Desk;
use crate::{
    DueWait, DueWaits, StoreFault,
    fault::Fault,
    sql::{Row, Sql, Text},
};

/// A page ends after this many bytes, whatever was asked for.
const PAGE_BYTES: usize = 4 * 1_024 * 1_024;
/// What was published this long ago and has not ended is lost, or waits behind much else: it keeps no place.
const UNDER_WAY: SignedDuration = SignedDuration::from_hours(1);

const RELEASED: Text =
    Text::of("SELECT count(*) FROM waiting WHERE destination = $1 AND released_at IS NOT NULL AND released_at > $2");
const DUE: Text = Text::of(
    "
    SELECT order_id, event_id, dead_letter, correlation_id, traceparent, due, spent, unanswered, retry_until, body
    FROM waiting WHERE destination = $1 AND released_at IS NULL AND due <= $2 ORDER BY due LIMIT $3",
);
const NEXT: Text =
    Text::of("SELECT due FROM waiting WHERE destination = $1 AND released_at IS NULL ORDER BY due LIMIT 1 OFFSET $2");
/// Not one that waits again since.
const RELEASE: Text = Text::of(
    "
    UPDATE waiting SET released_at = $4
    WHERE order_id = $1 AND destination = $2 AND due = $3 AND released_at IS NULL",
);
const AGAIN: Text = Text::of(
    "
    UPDATE waiting SET released_at = NULL, due = $3
    WHERE order_id = $1 AND destination = $2 AND released_at IS NOT NULL",
);

impl Desk {
    /// The waits of this destination that are over at `now`, as many as may be published so that at most `most`
    /// of them are under way.
    pub async fn due_waits(&self, destination: Name, now: Timestamp, most: u32) -> Result<DueWaits, StoreFault> {
        self.operators.read(async move |sql: Sql<'_>| due(sql, &destination, now, most).await).await
    }

    /// Marks waits as published, which the broker has confirmed.
    pub async fn release_waits(
        &self,
        waits: Vec<(OrderId, Name, Timestamp)>,
        now: Timestamp,
    ) -> Result<(), StoreFault> {
        let release = async move |sql: Sql<'_>| {
            for (order_id, destination, due) in &waits {
                let (due, now) = (due.as_microsecond(), now.as_microsecond());
                sql.execute(RELEASE, &[&order_id.0, &destination.as_str(), &due, &now]).await?;
            }
            Ok(())
        };
        self.operators.write(release).await
    }

    /// Has those of these deliveries that were published after a wait published once more. Returns them.
    pub async fn wait_again(
        &self,
        deliveries: Vec<(OrderId, Name)>,
        now: Timestamp,
    ) -> Result<Vec<(OrderId, Name)>, StoreFault> {
        let again = async move |sql: Sql<'_>| {
            let mut again = Vec::new();
            for (order_id, destination) in &deliveries {
                let now = now.as_microsecond();
                if sql.execute(AGAIN, &[&order_id.0, &destination.as_str(), &now]).await? > 0 {
                    again.push((*order_id, destination.clone()));
                }
            }
            Ok(again)
        };
        self.operators.write(again).await
    }
}

async fn due(sql: Sql<'_>, destination: &Name, now: Timestamp, most: u32) -> Result<DueWaits, Fault> {
    let (name, at) = (destination.as_str(), now.as_microsecond());
    let since = now.checked_sub(UNDER_WAY).unwrap_or(Timestamp::MIN).as_microsecond();
    let under_way = sql.first(RELEASED, &[&name, &since], |row| row.count(0)).await?.unwrap_or(0);
    let under_way = u32::try_from(under_way).unwrap_or(u32::MAX);
    let free = i64::from(most.saturating_sub(under_way));
    let (mut due, mut bytes) = (Vec::new(), 0);
    sql.each(DUE, &[&name, &at, &free], |row| {
        let wait = wait(row, destination)?;
        bytes += wait.body.len();
        due.push(wait);
        Ok(if bytes < PAGE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
    .await?;
    let taken = i64::try_from(due.len()).unwrap_or(i64::MAX);
    let next = sql.first(NEXT, &[&name, &taken], |row| row.time(0)).await?;
    Ok(DueWaits { due, under_way, next })
}

fn wait(row: &Row<'_>, destination: &Name) -> Result<DueWait, Fault> {
    Ok(DueWait {
        order_id: OrderId(row.get(0)?),
        destination: destination.clone(),
        event_id: EventId(row.get::<Uuid>(1)?),
        dead_letter: row.get(2)?,
        correlation_id: row.get(3)?,
        trace: row.get::<Option<String>>(4)?.as_deref().and_then(TraceParent::parse),
        due: row.time(5)?,
        spent: u32::try_from(row.get::<i64>(6)?).unwrap_or(u32::MAX),
        unanswered: row.get(7)?,
        retry_until: row.time(8)?,
        body: row.get::<Vec<u8>>(9)?.into(),
    })
}
