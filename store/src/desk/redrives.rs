//! Redrives as operators see and control them.

use common::{event::now, status::RedriveStatus};
use uuid::Uuid;

use super::{Desk, page::Page};
use crate::{
    Control, Controlled, Progress, Redrive, StoreFault,
    fault::Fault,
    sql::{Row, Sql, Text},
    unreadable::Unreadable,
};

/// The columns are those that [`read`] reads.
const ONE: Text = Text::of(
    "
    SELECT id, status, detail, filter, rate, concurrency, stop_after_failed_share, body IS NOT NULL, new_key, matched,
        refused, created_at, updated_at
    FROM redrives WHERE id = $1",
);
const LIST: Text = Text::of(
    "
    SELECT id, status, detail, filter, rate, concurrency, stop_after_failed_share, body IS NOT NULL, new_key, matched,
        refused, created_at, updated_at
    FROM redrives WHERE id < $1 ORDER BY id DESC LIMIT $2",
);
/// Counted in an index: twenty thousand take a millisecond or two.
const PROGRESS: Text = Text::of("SELECT state, count(*) FROM redrive_items WHERE redrive_id = $1 GROUP BY state");
const STATUS: Text = Text {
    sqlite: "SELECT status FROM redrives WHERE id = $1",
    postgres: "SELECT status FROM redrives WHERE id = $1 FOR UPDATE",
};
const CONTROL: Text = Text::of(
    "
    UPDATE redrives SET status = $2, detail = NULL, updated_at = $3,
        judged_from = CASE WHEN $2 = 'running' THEN $3 ELSE judged_from END
    WHERE id = $1",
);
const CANCEL: Text =
    Text::of("UPDATE redrive_items SET state = 'cancelled' WHERE redrive_id = $1 AND state = 'queued'");

impl Desk {
    /// A redrive with its progress.
    pub async fn redrive(&self, id: Uuid) -> Result<Option<Redrive>, StoreFault> {
        self.operators.read(async move |sql| one(sql, id).await).await
    }

    /// Redrives, the last created first: those before `before`, at most `limit`.
    pub async fn redrives(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Redrive>, StoreFault> {
        let unreadable = self.unreadable.clone();
        self.operators.read(async move |sql| list(sql, before, limit, &unreadable).await).await
    }

    /// Pauses, resumes or cancels.
    pub async fn control_redrive(&self, id: Uuid, control: Control) -> Result<Controlled, StoreFault> {
        self.operators.write(async move |sql| self::control(sql, id, control).await).await
    }
}

pub(super) async fn one(sql: Sql<'_>, id: Uuid) -> Result<Option<Redrive>, Fault> {
    let Some(mut redrive) = sql.first(ONE, &[&id], read).await? else { return Ok(None) };
    redrive.progress = progress(sql, id).await?;
    Ok(Some(redrive))
}

async fn list(sql: Sql<'_>, before: Option<Uuid>, limit: u32, unreadable: &Unreadable) -> Result<Vec<Redrive>, Fault> {
    let listed = |row: &Row<'_>| Ok((row.get(0)?, unreadable.left_out(read(row))));
    let mut page = Page::new(before, limit);
    while page.missing > 0 {
        let (before, missing) = (page.after.unwrap_or(Uuid::max()), i64::from(page.missing));
        page.add(sql.all(LIST, &[&before, &missing], listed).await?);
    }
    let mut redrives = page.found;
    for redrive in &mut redrives {
        redrive.progress = progress(sql, redrive.id).await?;
    }
    Ok(redrives)
}

/// A redrive without its progress.
fn read(row: &Row<'_>) -> Result<Redrive, Fault> {
    Ok(Redrive {
        id: row.get(0)?,
        status: row.word(1, &RedriveStatus::ALL)?,
        detail: row.get(2)?,
        selection: row.json(3)?,
        rate: row.get(4)?,
        concurrency: u32::try_from(row.get::<i64>(5)?).unwrap_or(u32::MAX),
        stop_after_failed_share: row.get(6)?,
        edited: row.get(7)?,
        new_key: row.get(8)?,
        matched: row.count(9)?,
        refused: row.json(10)?,
        progress: Progress::default(),
        created_at: row.time(11)?,
        updated_at: row.time(12)?,
    })
}

async fn progress(sql: Sql<'_>, id: Uuid) -> Result<Progress, Fault> {
    let mut progress = Progress::default();
    for (state, count) in sql.all(PROGRESS, &[&id], |row| Ok((row.get::<String>(0)?, row.count(1)?))).await? {
        progress.add(&state, count);
    }
    Ok(progress)
}

async fn control(sql: Sql<'_>, id: Uuid, control: Control) -> Result<Controlled, Fault> {
    let found = sql.first(STATUS, &[&id], |row| row.word(0, &RedriveStatus::ALL)).await?;
    let Some(found) = found else { return Ok(Controlled::Unknown) };
    let Some(status) = control.applied_to(found) else { return Ok(Controlled::NotPossible(found)) };
    sql.execute(CONTROL, &[&id, &status.as_str(), &now().as_microsecond()]).await?;
    if status == RedriveStatus::Cancelled {
        sql.execute(CANCEL, &[&id]).await?;
    }
    Ok(one(sql, id).await?.map_or(Controlled::Unknown, |redrive| Controlled::Done(Box::new(redrive))))
}
