//! Reconciliation in Postgres.

use std::{sync::Arc, time::Duration};

use common::{destination::Name, order::OrderId};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{desk::PostgresDesk, fault::Fault, redrives::work, session::Session};
use crate::{
    Answer, Found, Mark, OutboxEntry, Overdue, Reconciliation,
    columns::{parse_name, signed, unsigned},
    dead_letters::stored::time,
};

/// A line is removed when all that it has left is published: so are the rows that still bear its name.
const MARKS: &str = "
    SELECT owner, published_up_to FROM lines
    UNION ALL
    SELECT owner, max(place) FROM pending
    WHERE place IS NOT NULL AND NOT EXISTS (SELECT FROM lines WHERE lines.owner = pending.owner)
    GROUP BY owner";
/// The window counts all of them, beside the oldest.
const PUBLISHED: &str = "
    SELECT order_id, created_at, NULL::uuid, count(*) OVER ()
    FROM pending JOIN orders USING (order_id)
        JOIN unnest($1::uuid[], $2::bigint[]) AS mark (owner, up_to) ON mark.owner = pending.owner AND place <= up_to
    WHERE $3 = ANY(open) AND NOT EXISTS (
        SELECT FROM deliveries WHERE deliveries.order_id = pending.order_id AND destination = $3 AND status = 'pending')
    ORDER BY created_at LIMIT $4";
const UNPUBLISHED: &str = "
    SELECT order_id, created_at, NULL::uuid, count(*) OVER (), destination
    FROM pending JOIN orders USING (order_id) CROSS JOIN unnest(open) AS destination
        JOIN lines ON lines.owner = pending.owner AND place > published_up_to
    WHERE created_at < $1 ORDER BY created_at LIMIT $2";
const REDRIVEN: &str = "
    SELECT order_id, sent_at, dead_letter, count(*) OVER ()
    FROM redrive_items JOIN dead_letters ON dead_letters.id = dead_letter
    WHERE redrive_items.state = 'sent' AND sent_at < $1 AND destination = $2 ORDER BY sent_at LIMIT $3";
const EVENTS: &str = "SELECT event, traceparent FROM orders WHERE order_id = ANY($1::uuid[])";
const AGAIN: &str = "UPDATE redrive_items SET state = 'sending' WHERE dead_letter = ANY($1::uuid[]) AND state = 'sent'";
const LEASE: &str = "
    INSERT INTO leases (what, holder, leased_until) VALUES ($1, $2, now() + make_interval(secs => $3))
    ON CONFLICT (what) DO UPDATE SET holder = EXCLUDED.holder, leased_until = EXCLUDED.leased_until
    WHERE leases.holder = EXCLUDED.holder OR leases.leased_until < now()";
const RELEASE: &str = "DELETE FROM leases WHERE what = $1 AND holder = $2";

impl Reconciliation for PostgresDesk {
    fn published_marks(&self) -> Answer<'_, Vec<Mark>> {
        self.ask(work(move |session| {
            Box::pin(async move {
                let rows = session.query(MARKS, &[]).await?;
                let mark = |row: &Row| Ok(Mark { line: row.try_get(0)?, up_to: unsigned(row.try_get(1)?) });
                rows.iter().map(mark).collect()
            })
        }))
    }

    fn pending_published(&self, destination: Name, marks: Vec<Mark>, limit: u32) -> Answer<'_, Found> {
        let asked = Arc::new((destination, marks));
        self.ask(work(move |session| {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let (destination, marks) = &*asked;
                let lines: Vec<Uuid> = marks.iter().map(|mark| mark.line).collect();
                let up_to: Vec<i64> = marks.iter().map(|mark| signed(mark.up_to)).collect();
                let rows =
                    session.query(PUBLISHED, &[&lines, &up_to, &destination.as_str(), &i64::from(limit)]).await?;
                found(&rows, Some(destination))
            })
        }))
    }

    fn pending_unpublished(&self, accepted_before: Timestamp, limit: u32) -> Answer<'_, Found> {
        self.ask(work(move |session| {
            Box::pin(async move {
                let before = accepted_before.as_microsecond();
                found(&session.query(UNPUBLISHED, &[&before, &i64::from(limit)]).await?, None)
            })
        }))
    }

    fn pending_redriven(&self, destination: Name, sent_before: Timestamp, limit: u32) -> Answer<'_, Found> {
        let destination = Arc::new(destination);
        self.ask(work(move |session| {
            let destination = Arc::clone(&destination);
            Box::pin(async move {
                let before = sent_before.as_microsecond();
                let rows = session.query(REDRIVEN, &[&before, &destination.as_str(), &i64::from(limit)]).await?;
                found(&rows, Some(&destination))
            })
        }))
    }

    fn events_of(&self, order_ids: Vec<OrderId>) -> Answer<'_, Vec<OutboxEntry>> {
        let order_ids: Arc<Vec<Uuid>> = Arc::new(order_ids.into_iter().map(|order_id| order_id.0).collect());
        self.ask(work(move |session| {
            let order_ids = Arc::clone(&order_ids);
            Box::pin(async move { events(session, &order_ids).await })
        }))
    }

    fn send_redriven_again(&self, dead_letters: Vec<Uuid>) -> Answer<'_, ()> {
        let dead_letters = Arc::new(dead_letters);
        self.transaction(work(move |session| {
            let dead_letters = Arc::clone(&dead_letters);
            Box::pin(async move {
                session.execute(AGAIN, &[&*dead_letters]).await?;
                Ok(())
            })
        }))
    }

    fn lease(&self, what: &'static str, holder: Uuid, length: Duration) -> Answer<'_, bool> {
        self.transaction(work(move |session| {
            Box::pin(async move { Ok(session.execute(LEASE, &[&what, &holder, &length.as_secs_f64()]).await? == 1) })
        }))
    }

    fn release(&self, what: &'static str, holder: Uuid) -> Answer<'_, ()> {
        self.transaction(work(move |session| {
            Box::pin(async move {
                session.execute(RELEASE, &[&what, &holder]).await?;
                Ok(())
            })
        }))
    }
}

/// Rows of order, time, dead letter, count of all, and the destination where it is not given.
fn found(rows: &[Row], destination: Option<&Name>) -> Result<Found, Fault> {
    let mut found = Found::default();
    for row in rows {
        let destination = match destination {
            Some(destination) => destination.clone(),
            None => parse_name(row.try_get(4)?)?,
        };
        found.total = unsigned(row.try_get(3)?);
        found.overdue.push(Overdue {
            order_id: row.try_get::<_, Option<Uuid>>(0)?.map(OrderId),
            destination,
            since: time(row.try_get(1)?)?,
            dead_letter: row.try_get(2)?,
        });
    }
    Ok(found)
}

async fn events(session: &Session, order_ids: &Vec<Uuid>) -> Result<Vec<OutboxEntry>, Fault> {
    let mut entries = Vec::new();
    for row in session.query(EVENTS, &[order_ids]).await? {
        entries.push(OutboxEntry::stored(0, row.try_get(0)?, row.try_get(1)?)?);
    }
    Ok(entries)
}
