//! What reconciliation asks: deliveries that are pending and should have ended.

use std::time::Duration;

use common::{destination::Name, order::OrderId};
use jiff::Timestamp;
use uuid::Uuid;

use super::Desk;
use crate::{
    Found, Mark, OutboxEntry, Overdue, StoreFault,
    columns::{parse_name, signed},
    fault::Fault,
    sql::{Array, Row, Sql, Text, ids},
};

/// A producer that has published everything is removed from `lines`; rows that it published may still be
/// pending.
const MARKS: Text = Text {
    sqlite: "SELECT zeroblob(16), published_up_to FROM line",
    postgres: "
    SELECT owner, published_up_to FROM lines
    UNION ALL
    SELECT owner, max(place) FROM pending
    WHERE place IS NOT NULL AND NOT EXISTS (SELECT FROM lines WHERE lines.owner = pending.owner)
    GROUP BY owner",
};
/// Published and pending; `instr` finds a name in a list of names. What is being sent again, waits, or was published
/// again too late is looked for elsewhere, or not yet.
macro_rules! published {
    () => {
        "FROM pending
        WHERE place <= (SELECT value FROM json_each($2)) AND instr(',' || open || ',', ',' || $3 || ',') > 0
            AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.order_id = pending.order_id
                AND destination = $3 AND status = 'pending' AND dead_letter IS NOT NULL)
            AND NOT EXISTS (SELECT 1 FROM waiting WHERE waiting.order_id = pending.order_id
                AND destination = $3 AND (released_at IS NULL OR released_at >= $5))"
    };
}

/// Not published, and accepted before; a list of names becomes one row for each.
macro_rules! unpublished {
    () => {
        r#"FROM pending JOIN orders USING (order_id)
            JOIN json_each('["' || replace(open, ',', '","') || '"]') AS destination
        WHERE place > (SELECT published_up_to FROM line) AND created_at < $1"#
    };
}

/// All of them are counted, in addition to reading the oldest.
const PUBLISHED: Text = Text {
    sqlite: concat!(
        "
    SELECT order_id, created_at, NULL, (SELECT count(*) ",
        published!(),
        "), $3
    FROM orders JOIN (SELECT order_id, place ",
        published!(),
        " ORDER BY place LIMIT $4) USING (order_id) ORDER BY place"
    ),
    postgres: "
    SELECT order_id, created_at, NULL::uuid, count(*) OVER (), $3
    FROM pending JOIN orders USING (order_id)
        JOIN unnest($1::uuid[], $2::bigint[]) AS mark (owner, up_to) ON mark.owner = pending.owner AND place <= up_to
    WHERE $3 = ANY(open)
        AND NOT EXISTS (SELECT FROM deliveries WHERE deliveries.order_id = pending.order_id
            AND destination = $3 AND status = 'pending' AND dead_letter IS NOT NULL)
        AND NOT EXISTS (SELECT FROM waiting WHERE waiting.order_id = pending.order_id
            AND destination = $3 AND (released_at IS NULL OR released_at >= $5))
    ORDER BY created_at LIMIT $4",
};
const UNPUBLISHED: Text = Text {
    sqlite: concat!(
        "
    SELECT order_id, created_at, NULL, (SELECT count(*) ",
        unpublished!(),
        "), destination.value ",
        unpublished!(),
        " ORDER BY place LIMIT $2"
    ),
    postgres: "
    SELECT order_id, created_at, NULL::uuid, count(*) OVER (), destination
    FROM pending JOIN orders USING (order_id) CROSS JOIN unnest(open) AS destination
        JOIN lines ON lines.owner = pending.owner AND place > published_up_to
    WHERE created_at < $1 ORDER BY created_at LIMIT $2",
};
const REDRIVEN: Text = Text::of(
    "
    SELECT order_id, sent_at, dead_letter, count(*) OVER (), destination
    FROM redrive_items AS item JOIN dead_letters AS letter ON letter.id = item.dead_letter
    WHERE item.state = 'sent' AND sent_at < $1 AND destination = $2
        AND NOT EXISTS (SELECT 1 FROM waiting WHERE waiting.order_id = letter.order_id
            AND waiting.destination = $2 AND (released_at IS NULL OR released_at >= $1))
    ORDER BY sent_at LIMIT $3",
);
const EVENTS: Text = ids!("SELECT order_id, created_at, event, traceparent FROM orders WHERE order_id", "$1", "");
const AGAIN: Text = ids!("UPDATE redrive_items SET state = 'sending' WHERE dead_letter", "$1", " AND state = 'sent'");
const LEASE: Text = Text::of(
    "
    INSERT INTO leases (what, holder, leased_until) VALUES ($1, $2, now() + make_interval(secs => $3))
    ON CONFLICT (what) DO UPDATE SET holder = EXCLUDED.holder, leased_until = EXCLUDED.leased_until
    WHERE leases.holder = EXCLUDED.holder OR leases.leased_until < now()",
);
const RELEASE: Text = Text::of("DELETE FROM leases WHERE what = $1 AND holder = $2");

impl Desk {
    /// How far the outbox of every producer is published.
    pub async fn published_marks(&self) -> Result<Vec<Mark>, StoreFault> {
        let mark = |row: &Row<'_>| Ok(Mark { owner: row.get(0)?, up_to: row.count(1)? });
        self.operators.read(async move |sql| sql.all(MARKS, &[], mark).await).await
    }

    /// Deliveries to this destination that are pending, not being sent again, and published according to these
    /// marks; those that have waited in the store, if they were published again before this time.
    pub async fn pending_published(
        &self,
        destination: Name,
        marks: Vec<Mark>,
        released_before: Timestamp,
        limit: u32,
    ) -> Result<Found, StoreFault> {
        let (owners, up_to): (Vec<Uuid>, Vec<i64>) = marks.iter().map(|mark| (mark.owner, signed(mark.up_to))).unzip();
        let find = async move |sql: Sql<'_>| {
            let (owners, up_to, limit) = (Array(&owners), Array(&up_to), i64::from(limit));
            let (destination, before) = (destination.as_str(), released_before.as_microsecond());
            found(sql.all(PUBLISHED, &[&owners, &up_to, &destination, &limit, &before], overdue).await?)
        };
        self.operators.read(find).await
    }

    /// Deliveries of orders that were accepted before this time and are not published.
    pub async fn pending_unpublished(&self, accepted_before: Timestamp, limit: u32) -> Result<Found, StoreFault> {
        let (before, limit) = (accepted_before.as_microsecond(), i64::from(limit));
        self.operators.read(async move |sql| found(sql.all(UNPUBLISHED, &[&before, &limit], overdue).await?)).await
    }

    /// Dead letters that were sent again to this destination before this time, and have not ended.
    pub async fn pending_redriven(
        &self,
        destination: Name,
        sent_before: Timestamp,
        limit: u32,
    ) -> Result<Found, StoreFault> {
        let (before, limit) = (sent_before.as_microsecond(), i64::from(limit));
        let find = async move |sql: Sql<'_>| {
            found(sql.all(REDRIVEN, &[&before, &destination.as_str(), &limit], overdue).await?)
        };
        self.operators.read(find).await
    }

    /// The events of these orders, to be published again. An order that is not known is left out.
    pub async fn events_of(&self, order_ids: Vec<OrderId>) -> Result<Vec<OutboxEntry>, StoreFault> {
        let ids: Vec<Uuid> = order_ids.into_iter().map(|order_id| order_id.0).collect();
        let read = async move |sql: Sql<'_>| {
            let entry = |row: &Row<'_>| Ok(OutboxEntry::stored(0, row.stored_order(0)?));
            sql.all(EVENTS, &[&Array(&ids)], entry).await
        };
        self.operators.read(read).await
    }

    /// Has the runner of redrives publish dead letters again that were sent.
    pub async fn send_redriven_again(&self, dead_letters: Vec<Uuid>) -> Result<(), StoreFault> {
        let mark = async move |sql: Sql<'_>| sql.execute(AGAIN, &[&Array(&dead_letters)]).await.map(|_| ());
        self.operators.write(mark).await
    }

    /// Takes the right to do `what`, or keeps it, for this long: of several processes one has it at a time.
    /// Returns whether `holder` has it. An SQLite file belongs to one process.
    pub async fn lease(&self, what: &str, holder: Uuid, length: Duration) -> Result<bool, StoreFault> {
        if self.is_sqlite() {
            return Ok(true);
        }
        let what = what.to_owned();
        let lease =
            async move |sql: Sql<'_>| Ok(sql.execute(LEASE, &[&what, &holder, &length.as_secs_f64()]).await? == 1);
        self.operators.write(lease).await
    }

    /// Gives the right back.
    pub async fn release(&self, what: &str, holder: Uuid) -> Result<(), StoreFault> {
        if self.is_sqlite() {
            return Ok(());
        }
        let what = what.to_owned();
        let release = async move |sql: Sql<'_>| sql.execute(RELEASE, &[&what, &holder]).await.map(|_| ());
        self.operators.write(release).await
    }
}

/// An overdue delivery, and how many there are.
fn overdue(row: &Row<'_>) -> Result<(Overdue, u64), Fault> {
    let overdue = Overdue {
        order_id: row.get::<Option<Uuid>>(0)?.map(OrderId),
        since: row.time(1)?,
        dead_letter: row.get(2)?,
        destination: parse_name(&row.get::<String>(4)?)?,
    };
    Ok((overdue, row.count(3)?))
}

fn found(rows: Vec<(Overdue, u64)>) -> Result<Found, Fault> {
    let total = rows.first().map_or(0, |(_, total)| *total);
    Ok(Found { overdue: rows.into_iter().map(|(overdue, _)| overdue).collect(), total })
}
