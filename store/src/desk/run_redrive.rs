//! The steps of a redrive: what is running, what is sent next, what is confirmed, what has ended.

use std::ops::ControlFlow;

use common::{
    event::{self, now},
    order::OrderId,
    outcome::OutcomeStatus,
    status::RedriveStatus,
};
use serde_json::Value;
use uuid::Uuid;

use super::Desk;
use crate::{
    RedriveItem, RunningRedrive, StoreFault,
    fault::Fault,
    sql::{Array, Row, Sql, Text, ids},
};

/// What is taken at a time ends after this many bytes, whatever was asked for.
const PAGE_BYTES: usize = 4 * 1_024 * 1_024;

const RUNNING: Text = Text::of(
    "
    SELECT id, rate, concurrency, stop_after_failed_share,
        EXISTS (SELECT 1 FROM redrive_items WHERE redrive_id = job.id AND state = 'queued'),
        (SELECT count(*) FROM redrive_items WHERE redrive_id = job.id AND state IN ('sending', 'sent')),
        (SELECT count(*) FROM (
            SELECT state FROM redrive_items WHERE redrive_id = job.id AND ended_at >= job.judged_from
            ORDER BY ended_at DESC LIMIT $1) AS last WHERE state = 'dead_lettered')
    FROM redrives AS job WHERE status = 'running' ORDER BY id",
);

/// The columns that [`item`] reads. An edited body is stored with its redrive.
macro_rules! items {
    ($rest:literal) => {
        concat!(
            "
            SELECT dead_letter, order_id, destination, coalesce(redrives.body, dead_letters.body), headers, properties,
                new_key, dead_letters.state = 'delivered'
            FROM redrive_items JOIN dead_letters ON dead_letters.id = dead_letter
                JOIN redrives ON redrives.id = redrive_id ",
            $rest
        )
    };
}

const QUEUED: Text = Text {
    sqlite: items!(
        "WHERE redrive_id = $1 AND redrive_items.state = 'queued' AND redrives.status = 'running'
        ORDER BY dead_letter LIMIT $2"
    ),
    postgres: items!(
        "WHERE redrive_id = $1 AND redrive_items.state = 'queued' AND redrives.status = 'running'
        ORDER BY dead_letter LIMIT $2 FOR UPDATE OF redrive_items"
    ),
};
const UNCONFIRMED: Text =
    Text::of(items!("WHERE redrive_items.state = 'sending' AND dead_letter > $1 ORDER BY dead_letter LIMIT $2"));
const MARK: Text = ids!("UPDATE redrive_items SET state = $3 WHERE redrive_id = $1 AND dead_letter", "$2", "");
const REDRIVING: Text = ids!("UPDATE dead_letters SET state = 'redriving' WHERE id", "$1", " AND state = 'dead'");
const SENT: Text =
    ids!("UPDATE redrive_items SET state = 'sent', sent_at = $2 WHERE dead_letter", "$1", " AND state = 'sending'");
const END: Text =
    Text::of("UPDATE redrives SET status = $2, detail = $3, updated_at = $4 WHERE id = $1 AND status = 'running'");

impl Desk {
    /// Every redrive that is running, oldest first.
    pub async fn running_redrives(&self) -> Result<Vec<RunningRedrive>, StoreFault> {
        let last = i64::from(RunningRedrive::LAST);
        self.operators.read(async move |sql| sql.all(RUNNING, &[&last], state).await).await
    }

    /// Takes the next dead letters of a running redrive, at most `limit`, and fewer if they are large: they
    /// count as being sent, and their deliveries as pending. To be called before they are published.
    pub async fn take_redrive(&self, id: Uuid, limit: u32) -> Result<Vec<RedriveItem>, StoreFault> {
        let taken = self.operators.write(async move |sql| take(sql, id, limit).await).await?;
        self.notify(taken.iter().filter_map(|item| item.order_id));
        Ok(taken)
    }

    /// The dead letters of any redrive that were taken and not confirmed, beyond `after`, in ascending order:
    /// at most `limit`, and fewer if they are large.
    pub async fn unconfirmed_redrives(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<RedriveItem>, StoreFault> {
        let after = after.unwrap_or(Uuid::nil());
        let page = async move |sql: Sql<'_>| {
            let items = page(sql, UNCONFIRMED, after, limit).await?;
            Ok(items.into_iter().map(|(item, _)| item).collect())
        };
        self.operators.read(page).await
    }

    /// Marks these dead letters as confirmed by the broker.
    pub async fn sent_redrives(&self, dead_letters: Vec<Uuid>) -> Result<(), StoreFault> {
        let now = now().as_microsecond();
        let mark = async move |sql: Sql<'_>| sql.execute(SENT, &[&Array(&dead_letters), &now]).await.map(|_| ());
        self.operators.write(mark).await
    }

    /// Ends the redrive of a dead letter that is a report. No worker reports on it, so the ledger ends it once it is
    /// recorded.
    pub async fn end_redrive_of_report(&self, dead_letter: Uuid) -> Result<(), StoreFault> {
        let end = async move |sql: Sql<'_>| sql.end_redriven(dead_letter, OutcomeStatus::Delivered).await;
        self.operators.write(end).await
    }

    /// Ends a running redrive: `Completed` if nothing remains, `Stopped` with a detail otherwise. Does nothing
    /// to one that is not running.
    pub async fn end_redrive(&self, id: Uuid, status: RedriveStatus, detail: Option<String>) -> Result<(), StoreFault> {
        let now = now().as_microsecond();
        let end = async move |sql: Sql<'_>| {
            sql.execute(END, &[&id, &status.as_str(), &detail, &now]).await?;
            Ok(())
        };
        self.operators.write(end).await
    }
}

fn state(row: &Row<'_>) -> Result<RunningRedrive, Fault> {
    let number = |index| Ok::<_, Fault>(u32::try_from(row.get::<i64>(index)?).unwrap_or(u32::MAX));
    Ok(RunningRedrive {
        id: row.get(0)?,
        rate: row.get(1)?,
        concurrency: number(2)?,
        stop_after_failed_share: row.get(3)?,
        queued: row.get(4)?,
        under_way: number(5)?,
        failed_of_last: number(6)?,
    })
}

/// As many as fit, at least one if there is any, and whether each has been delivered in the meantime.
async fn page(sql: Sql<'_>, text: Text, of: Uuid, limit: u32) -> Result<Vec<(RedriveItem, bool)>, Fault> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    sql.each(text, &[&of, &i64::from(limit)], |row| {
        let item = item(row)?;
        bytes += item.body.len();
        page.push((item, row.get(7)?));
        Ok(if bytes < PAGE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
    .await?;
    Ok(page)
}

/// A body with a new key goes under the id of its own event.
fn item(row: &Row<'_>) -> Result<RedriveItem, Fault> {
    let mut item = RedriveItem {
        dead_letter: row.get(0)?,
        order_id: row.get::<Option<Uuid>>(1)?.map(OrderId),
        origin: row.origin(2)?,
        body: row.get::<Vec<u8>>(3)?.into(),
        headers: row.json(4)?,
        properties: row.json(5)?,
    };
    if row.get(6)?
        && let Some(identity) = event::identity(&item.body)
    {
        item.properties.insert("message_id".to_owned(), Value::String(identity.event_id.0.to_string()));
    }
    Ok(item)
}

async fn take(sql: Sql<'_>, id: Uuid, limit: u32) -> Result<Vec<RedriveItem>, Fault> {
    let items = page(sql, QUEUED, id, limit).await?;
    let (delivered, taken): (Vec<_>, Vec<_>) = items.into_iter().partition(|(_, delivered)| *delivered);
    let ids = |items: &[(RedriveItem, bool)]| items.iter().map(|(item, _)| item.dead_letter).collect::<Vec<_>>();
    if !delivered.is_empty() {
        sql.execute(MARK, &[&id, &Array(&ids(&delivered)), &"delivered"]).await?;
    }
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let taken_ids = ids(&taken);
    sql.execute(MARK, &[&id, &Array(&taken_ids), &"sending"]).await?;
    sql.execute(REDRIVING, &[&Array(&taken_ids)]).await?;
    let taken: Vec<_> = taken.into_iter().map(|(item, _)| item).collect();
    sql.reopen(&taken).await?;
    Ok(taken)
}
