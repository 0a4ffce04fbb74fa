//! What waits in the outbox.

use std::ops::ControlFlow;

use jiff::Timestamp;
use uuid::Uuid;

use super::Desk;
use crate::{
    Backlog, OutboxEntry, Position, StoreFault,
    columns::{signed, unsigned},
    fault::Fault,
    sql::{Row, Sql, Text},
};

/// A page ends after this many bytes, whatever was asked for.
const PAGE_BYTES: usize = 4 * 1_024 * 1_024;

const PAGE: Text = Text {
    sqlite: "
    SELECT place, order_id, created_at, event, traceparent FROM pending JOIN orders USING (order_id)
    WHERE place > $2 ORDER BY place LIMIT $3",
    postgres: "
    SELECT place, order_id, created_at, event, traceparent FROM (
        SELECT place, order_id, created_at, event, traceparent,
            sum(octet_length(event)) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING) - octet_length(event) AS before
        FROM (
            SELECT place, order_id, created_at, event, traceparent FROM pending JOIN orders USING (order_id)
            WHERE owner = $1 AND place > $2 ORDER BY place LIMIT $3
        ) AS page
    ) AS measured
    WHERE before < $4 ORDER BY place",
};

const BACKLOG: Text = Text {
    sqlite: "
    SELECT published_up_to, last_place,
        (SELECT count(*) FROM pending WHERE place > published_up_to),
        (SELECT created_at FROM pending JOIN orders USING (order_id)
            WHERE place > published_up_to ORDER BY place LIMIT 1)
    FROM line",
    postgres: "
    SELECT published_up_to, last_place,
        (SELECT count(*) FROM pending WHERE owner = $1 AND place > published_up_to),
        (SELECT created_at FROM pending JOIN orders USING (order_id)
            WHERE owner = $1 AND place > published_up_to ORDER BY place LIMIT 1)
    FROM lines WHERE owner = $1",
};

pub(super) const PREPARED: &[&str] = &[PAGE.postgres, BACKLOG.postgres];

impl Desk {
    /// Events in this producer's outbox beyond `after`, oldest first: at least one if there is any, at most
    /// `limit`, and fewer if they are large.
    pub async fn outbox(&self, after: Position, limit: u32) -> Result<Vec<OutboxEntry>, StoreFault> {
        let Some(owner) = self.owner() else { return Ok(Vec::new()) };
        self.relay.read(async move |sql: Sql<'_>| page(sql, owner, after, limit).await).await
    }

    /// How much waits in this producer's outbox.
    pub async fn backlog(&self) -> Result<Backlog, StoreFault> {
        let Some(owner) = self.owner() else { return Ok(Backlog::default()) };
        self.relay.read(async move |sql: Sql<'_>| backlog(sql, owner).await).await
    }
}

async fn page(sql: Sql<'_>, owner: Uuid, after: Position, limit: u32) -> Result<Vec<OutboxEntry>, Fault> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let (after, limit, most) = (signed(after), i64::from(limit), signed(PAGE_BYTES as u64));
    sql.each(PAGE, &[&owner, &after, &limit, &most], |row| {
        let entry = OutboxEntry::stored(unsigned(row.get(0)?), row.stored_order(1)?);
        bytes += entry.body.len();
        entries.push(entry);
        Ok(if bytes < PAGE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
    .await?;
    Ok(entries)
}

pub(super) async fn backlog(sql: Sql<'_>, owner: Uuid) -> Result<Backlog, Fault> {
    let backlog = sql.first(BACKLOG, &[&owner], read).await?;
    Ok(backlog.unwrap_or_default())
}

fn read(row: &Row<'_>) -> Result<Backlog, Fault> {
    let oldest_at: Option<i64> = row.get(3)?;
    Ok(Backlog {
        published_up_to: unsigned(row.get(0)?),
        last: unsigned(row.get(1)?),
        events: unsigned(row.get(2)?),
        oldest_at: oldest_at.and_then(|micros| Timestamp::from_microsecond(micros).ok()),
    })
}
