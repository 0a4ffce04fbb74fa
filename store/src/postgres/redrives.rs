//! Redrives in Postgres.

mod plan;
mod run;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use common::{
    event::now,
    order::OrderId,
    outcome::{Outcome, OutcomeStatus},
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    desk::{PostgresDesk, Working},
    fault::Fault,
    session::Session,
};
use crate::{
    Answer, Control, Controlled, Created, Plan, Progress, Redrive, RedriveStatus, Redrives, Sending, Standing,
    StoreFault, Terms, Wish,
    columns::unsigned,
    dead_letters::stored::{parse, time},
};

const ONE: &str = "
    SELECT id, status, detail, filter, rate, concurrency, stop_after_failed_share, body IS NOT NULL, new_key, matched,
        refused, created_at, updated_at
    FROM redrives WHERE id = $1";
const LIST: &str = "
    SELECT id, status, detail, filter, rate, concurrency, stop_after_failed_share, body IS NOT NULL, new_key, matched,
        refused, created_at, updated_at
    FROM redrives WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2";
const LOCK: &str = "SELECT status FROM redrives WHERE id = $1 FOR UPDATE";
const PROGRESS: &str = "SELECT state, count(*) FROM redrive_items WHERE redrive_id = $1 GROUP BY state";
const CONTROL: &str = "
    UPDATE redrives SET status = $2, detail = NULL, updated_at = $3,
        judged_from = CASE WHEN $2 = 'running' THEN $3 ELSE judged_from END
    WHERE id = $1";
const CANCEL: &str = "UPDATE redrive_items SET state = 'cancelled' WHERE redrive_id = $1 AND state = 'queued'";
const END: &str = "UPDATE redrives SET status = $2, detail = $3, updated_at = $4 WHERE id = $1 AND status = 'running'";

/// Dead letters that were sent again and have ended, with the time that counts when a redrive stops by itself.
const ENDED_ITEMS: &str = "
    UPDATE redrive_items SET state = ended.status, ended_at = $3
    FROM unnest($1::uuid[], $2::text[]) AS ended (dead_letter, status)
    WHERE redrive_items.dead_letter = ended.dead_letter AND state IN ('sending', 'sent')";
const ENDED_LETTERS: &str = "
    UPDATE dead_letters SET state = CASE ended.status WHEN 'delivered' THEN 'delivered' ELSE 'redriven' END
    FROM unnest($1::uuid[], $2::text[]) AS ended (dead_letter, status)
    WHERE dead_letters.id = ended.dead_letter AND state = 'redriving'";

/// Tells the compiler what a closure is.
pub(super) fn work<T, F>(work: F) -> F
where
    F: for<'s> Fn(&'s Session) -> Working<'s, T> + Send + Sync,
{
    work
}

impl Redrives for PostgresDesk {
    fn plan_redrive(&self, wish: Wish) -> Answer<'_, Plan> {
        let wish = Arc::new(wish);
        self.transaction(work(move |session| {
            let wish = Arc::clone(&wish);
            Box::pin(async move { plan::plan(session, &wish).await })
        }))
    }

    fn create_redrive(&self, wish: Wish, terms: Terms) -> Answer<'_, Created> {
        let asked = Arc::new((wish, terms));
        self.transaction(work(move |session| {
            let asked = Arc::clone(&asked);
            Box::pin(async move { plan::create(session, &asked.0, &asked.1).await })
        }))
    }

    fn redrive(&self, id: Uuid) -> Answer<'_, Option<Redrive>> {
        self.ask(work(move |session| Box::pin(one(session, id))))
    }

    fn redrives(&self, before: Option<Uuid>, limit: u32) -> Answer<'_, Vec<Redrive>> {
        self.ask(work(move |session| {
            Box::pin(async move {
                let mut redrives = Vec::new();
                for row in session.query(LIST, &[&before, &i64::from(limit)]).await? {
                    redrives.push(read(session, &row).await?);
                }
                Ok(redrives)
            })
        }))
    }

    fn control_redrive(&self, id: Uuid, control: Control) -> Answer<'_, Controlled> {
        self.transaction(work(move |session| Box::pin(self::control(session, id, control))))
    }

    fn running_redrives(&self) -> Answer<'_, Vec<Standing>> {
        self.ask(work(move |session| Box::pin(run::running(session))))
    }

    fn take_redrive(&self, id: Uuid, limit: u32) -> Answer<'_, Vec<Sending>> {
        let taking = self.transaction(work(move |session| Box::pin(run::take(session, id, limit))));
        Box::pin(async move {
            let taken = taking.await?;
            self.tell(&taken.iter().filter_map(|sending| sending.order_id).collect::<Vec<OrderId>>());
            Ok(taken)
        })
    }

    fn unconfirmed_redrives(&self, after: Option<Uuid>, limit: u32) -> Answer<'_, Vec<Sending>> {
        self.ask(work(move |session| Box::pin(run::unconfirmed(session, after, limit))))
    }

    fn sent_redrives(&self, dead_letters: Vec<Uuid>) -> Answer<'_, ()> {
        let dead_letters = Arc::new(dead_letters);
        self.transaction(work(move |session| {
            let dead_letters = Arc::clone(&dead_letters);
            Box::pin(async move { run::sent(session, &dead_letters).await })
        }))
    }

    fn delivered_redrive(&self, dead_letter: Uuid) -> Answer<'_, ()> {
        self.transaction(work(move |session| {
            Box::pin(async move { end_all(session, &[(dead_letter, OutcomeStatus::Delivered)]).await })
        }))
    }

    fn end_redrive(&self, id: Uuid, status: RedriveStatus, detail: Option<String>) -> Answer<'_, ()> {
        let detail = Arc::new(detail);
        self.transaction(work(move |session| {
            let detail = Arc::clone(&detail);
            Box::pin(async move {
                let at = now().as_microsecond();
                session.execute(END, &[&id, &status.as_str(), &detail.as_deref(), &at]).await?;
                Ok(())
            })
        }))
    }
}

/// Ends the redrives of these outcomes. In the caller's transaction; once is enough, and more changes nothing.
pub(super) async fn ended<'a>(session: &Session, outcomes: impl Iterator<Item = &'a Outcome>) -> Result<(), Fault> {
    let mut ends = BTreeMap::new();
    for outcome in outcomes {
        if let Some(dead_letter) = outcome.dead_letter {
            let end = ends.entry(dead_letter).or_insert(outcome.status);
            if outcome.status == OutcomeStatus::Delivered {
                *end = outcome.status;
            }
        }
    }
    end_all(session, &ends.into_iter().collect::<Vec<_>>()).await
}

/// The same for dead letters whose ends are known, in ascending order.
pub(super) async fn end_all(session: &Session, ends: &[(Uuid, OutcomeStatus)]) -> Result<(), Fault> {
    if ends.is_empty() {
        return Ok(());
    }
    let (ids, statuses): (Vec<Uuid>, Vec<&str>) = ends.iter().map(|(id, status)| (*id, status.as_str())).unzip();
    session.execute(ENDED_ITEMS, &[&ids, &statuses, &now().as_microsecond()]).await?;
    session.execute(ENDED_LETTERS, &[&ids, &statuses]).await?;
    Ok(())
}

async fn one(session: &Session, id: Uuid) -> Result<Option<Redrive>, Fault> {
    match session.query_first(ONE, &[&id]).await? {
        Some(row) => Ok(Some(read(session, &row).await?)),
        None => Ok(None),
    }
}

async fn read(session: &Session, row: &Row) -> Result<Redrive, Fault> {
    let id: Uuid = row.try_get(0)?;
    let concurrency: i64 = row.try_get(5)?;
    Ok(Redrive {
        id,
        status: status(row.try_get(1)?)?,
        detail: row.try_get(2)?,
        selection: parse(row.try_get(3)?)?,
        rate: row.try_get(4)?,
        concurrency: u32::try_from(concurrency).unwrap_or(u32::MAX),
        stop_after_failed_share: row.try_get(6)?,
        edited: row.try_get(7)?,
        new_key: row.try_get(8)?,
        matched: unsigned(row.try_get(9)?),
        refused: parse(row.try_get(10)?)?,
        progress: progress(session, id).await?,
        created_at: time(row.try_get(11)?)?,
        updated_at: time(row.try_get(12)?)?,
    })
}

fn status(word: &str) -> Result<RedriveStatus, StoreFault> {
    RedriveStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| StoreFault::Database(format!("a stored redrive has the unknown status {word}")))
}

async fn progress(session: &Session, id: Uuid) -> Result<Progress, Fault> {
    let mut progress = Progress::default();
    for row in session.query(PROGRESS, &[&id]).await? {
        let (state, count): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        let count = unsigned(count);
        match state {
            "queued" => progress.queued = count,
            "sending" => progress.sending = count,
            "sent" => progress.sent = count,
            "delivered" => progress.delivered = count,
            "dead_lettered" => progress.dead_lettered = count,
            _ => progress.cancelled = count,
        }
    }
    Ok(progress)
}

async fn control(session: &Session, id: Uuid, control: Control) -> Result<Controlled, Fault> {
    let Some(row) = session.query_first(LOCK, &[&id]).await? else { return Ok(Controlled::Unknown) };
    let found = status(row.try_get(0)?)?;
    let Some(status) = control.applied_to(found) else { return Ok(Controlled::NotPossible(found)) };
    session.execute(CONTROL, &[&id, &status.as_str(), &now().as_microsecond()]).await?;
    if status == RedriveStatus::Cancelled {
        session.execute(CANCEL, &[&id]).await?;
    }
    Ok(one(session, id).await?.map_or(Controlled::Unknown, |redrive| Controlled::Done(Box::new(redrive))))
}

/// A body as it is published.
fn bytes(body: Vec<u8>) -> Bytes {
    body.into()
}
