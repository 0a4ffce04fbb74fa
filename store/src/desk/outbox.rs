//! What waits in the outbox.

use std::ops::ControlFlow;

use common::destination::Name;
use jiff::Timestamp;
use uuid::Uuid;

use super::Desk;
use crate::{
    Backlog, LaneMark, OutboxEntry, Position, StoreFault,
    columns::{parse_name, signed, unsigned},
    fault::Fault,
    sql::{Row, Sql, Text},
};

/// A page ends after this many bytes, whatever was asked for.
const PAGE_BYTES: usize = 4 * 1_024 * 1_024;

/// Of one destination, if it is named: what is pending there and was not published to it before.
const PAGE: Text = Text {
    sqlite: "
    SELECT place, order_id, created_at, event, traceparent, open FROM pending JOIN orders USING (order_id)
    WHERE place > $2 AND ($5 IS NULL OR instr(',' || open || ',', ',' || $5 || ',') > 0) ORDER BY place LIMIT $3",
    postgres: "
    SELECT place, order_id, created_at, event, traceparent, array_to_string(lacking, ',') FROM (
        SELECT place, order_id, created_at, event, traceparent, lacking,
            sum(octet_length(event)) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING) - octet_length(event) AS before
        FROM (
            SELECT place, order_id, created_at, event, traceparent,
                ARRAY(SELECT name FROM unnest(open) AS name WHERE name <> ALL (coalesce(published_to, '{}'))) AS lacking
            FROM pending JOIN orders USING (order_id)
            WHERE owner = $1 AND place > $2
                AND ($5::text IS NULL OR $5 = ANY (open) AND $5 <> ALL (coalesce(published_to, '{}')))
            ORDER BY place LIMIT $3
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

const LANES: Text = Text {
    sqlite: "
    SELECT destination, published_up_to FROM lanes
    WHERE published_up_to > (SELECT published_up_to FROM line) ORDER BY destination",
    postgres: "
    SELECT destination, lanes.published_up_to FROM lanes JOIN lines USING (owner)
    WHERE owner = $1 AND lanes.published_up_to > lines.published_up_to ORDER BY destination",
};

pub(super) const PREPARED: &[&str] = &[PAGE.postgres, BACKLOG.postgres, LANES.postgres];

impl Desk {
    /// Events in this producer's outbox beyond `after`, oldest first: at least one if there is any, at most
    /// `limit`, and fewer if they are large.
    pub async fn outbox(&self, after: Position, limit: u32) -> Result<Vec<OutboxEntry>, StoreFault> {
        let Some(owner) = self.owner() else { return Ok(Vec::new()) };
        self.relay.read(async move |sql: Sql<'_>| page(sql, owner, None, after, limit).await).await
    }

    /// The same of one destination: only what may not have reached it.
    pub async fn outbox_of(
        &self,
        destination: Name,
        after: Position,
        limit: u32,
    ) -> Result<Vec<OutboxEntry>, StoreFault> {
        let Some(owner) = self.owner() else { return Ok(Vec::new()) };
        self.relay.read(async move |sql: Sql<'_>| page(sql, owner, Some(&destination), after, limit).await).await
    }

    /// How much waits in this producer's outbox.
    pub async fn backlog(&self) -> Result<Backlog, StoreFault> {
        let Some(owner) = self.owner() else { return Ok(Backlog::default()) };
        self.relay.read(async move |sql: Sql<'_>| backlog(sql, owner).await).await
    }
}

async fn page(
    sql: Sql<'_>,
    owner: Uuid,
    destination: Option<&Name>,
    after: Position,
    limit: u32,
) -> Result<Vec<OutboxEntry>, Fault> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let (after, limit, most) = (signed(after), i64::from(limit), signed(PAGE_BYTES as u64));
    let destination = destination.map(Name::as_str);
    sql.each(PAGE, &[&owner, &after, &limit, &most, &destination], |row| {
        let mut entry = OutboxEntry::stored(unsigned(row.get(0)?), row.stored_order(1)?);
        // A name that no destination can have has no queue to publish to.
        entry.lacking = Some(row.get::<String>(5)?.split(',').filter_map(|name| name.parse().ok()).collect());
        bytes += entry.body.len();
        entries.push(entry);
        Ok(if bytes < PAGE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
    .await?;
    Ok(entries)
}

pub(super) async fn backlog(sql: Sql<'_>, owner: Uuid) -> Result<Backlog, Fault> {
    let backlog = sql.first(BACKLOG, &[&owner], read).await?.unwrap_or_default();
    let lanes = sql.all(LANES, &[&owner], lane).await?;
    Ok(Backlog { lanes, ..backlog })
}

fn lane(row: &Row<'_>) -> Result<LaneMark, Fault> {
    Ok(LaneMark { destination: parse_name(&row.get::<String>(0)?)?, up_to: unsigned(row.get(1)?) })
}

fn read(row: &Row<'_>) -> Result<Backlog, Fault> {
    let oldest_at: Option<i64> = row.get(3)?;
    Ok(Backlog {
        published_up_to: unsigned(row.get(0)?),
        lanes: Vec::new(),
        last: unsigned(row.get(1)?),
        events: unsigned(row.get(2)?),
        oldest_at: oldest_at.and_then(|micros| Timestamp::from_microsecond(micros).ok()),
    })
}
