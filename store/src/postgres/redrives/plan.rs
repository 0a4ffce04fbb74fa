//! What a redrive would send, and the redrive that sends exactly that.

use std::collections::BTreeMap;

use common::{
    event::{self, Decoded, now},
    origin::Origin,
    outcome::Reason,
};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    super::{dead_letters, fault::Fault, session::Session},
    one,
};
use crate::{
    Created, Filter, Idempotency, Plan, Refusal, Refused, Selection, Terms, Wish,
    columns::{parse_origin, signed},
    dead_letters::stored::{containing, json},
};

const BY_FILTER: &str = "
    SELECT id, destination, state, reason, coalesce(key_used_at, failed_at), EXISTS (
        SELECT FROM redrive_items WHERE dead_letter = id AND redrive_items.state IN ('queued', 'sending', 'sent'))
    FROM dead_letters
    WHERE state = 'dead' AND (archived_at IS NOT NULL) = $1
        AND ($2::text IS NULL OR destination = $2) AND ($3::text IS NULL OR reason = $3)
        AND ($4::integer IS NULL OR status_code = $4) AND ($5::text IS NULL OR error ILIKE $5)
        AND ($6::uuid IS NULL OR order_id = $6) AND ($7::bigint IS NULL OR failed_at >= $7)
        AND ($8::bigint IS NULL OR failed_at < $8)
    ORDER BY id";
const BY_ID: &str = "
    SELECT id, destination, state, reason, coalesce(key_used_at, failed_at), EXISTS (
        SELECT FROM redrive_items WHERE dead_letter = id AND redrive_items.state IN ('queued', 'sending', 'sent'))
    FROM dead_letters WHERE id = ANY($1::uuid[]) ORDER BY id";
const BODY: &str = "SELECT body FROM dead_letters WHERE id = $1";
/// Two producers that make redrives at the same moment must not take the same dead letter.
const IN_TURN: &str = "SELECT pg_advisory_xact_lock(hashtext('redrives'))";
const INSERT: &str = "
    INSERT INTO redrives (id, status, filter, rate, concurrency, stop_after_failed_share, body, new_key, matched,
        refused, judged_from, created_at, updated_at)
    VALUES ($1, 'running', $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $10)";
const ITEMS: &str =
    "INSERT INTO redrive_items (redrive_id, dead_letter, state) SELECT $1, id, 'queued' FROM unnest($2::uuid[]) AS id";
const KEY: &str = "
    INSERT INTO idempotency_keys (scope, key, fingerprint, order_id, created_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (scope, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, created_at = excluded.created_at";
const EARLIER: &str =
    "SELECT fingerprint, order_id FROM idempotency_keys WHERE scope = $1 AND key = $2 AND created_at > $3";

/// Everything that a redrive would send, oldest first, and what it would not.
#[derive(Default)]
struct Chosen {
    ids: Vec<Uuid>,
    refused: BTreeMap<Refusal, u64>,
}

impl Chosen {
    fn take(&mut self, id: Uuid, refusal: Option<Refusal>) {
        match refusal {
            Some(refusal) => *self.refused.entry(refusal).or_default() += 1,
            None => self.ids.push(id),
        }
    }

    fn refused(&self) -> Vec<Refused> {
        self.refused.iter().map(|(&reason, &count)| Refused { reason, count }).collect()
    }
}

async fn choose(session: &Session, wish: &Wish) -> Result<Chosen, Fault> {
    let mut chosen = Chosen::default();
    match &wish.selection {
        Selection::Filter(filter) => {
            let Filter { destination, reason, status_code, error, order_id, from, to, archived } = filter;
            let (reason, status_code) = (reason.map(Reason::as_str), status_code.map(i32::from));
            let (error, order_id) = (error.as_deref().map(containing), order_id.map(|order_id| order_id.0));
            let (from, to) = (from.map(Timestamp::as_microsecond), to.map(Timestamp::as_microsecond));
            let rows = session
                .query(
                    BY_FILTER,
                    &[
                        archived,
                        &destination.as_ref().map(Origin::as_str),
                        &reason,
                        &status_code,
                        &error,
                        &order_id,
                        &from,
                        &to,
                    ],
                )
                .await?;
            for row in rows {
                let (id, refusal) = candidate(session, &row, wish).await?;
                chosen.take(id, refusal);
            }
        }
        Selection::Ids(ids) => {
            let rows = session.query(BY_ID, &[ids]).await?;
            let missing = (ids.len() as u64).saturating_sub(rows.len() as u64);
            if missing > 0 {
                chosen.refused.insert(Refusal::NotFound, missing);
            }
            for row in rows {
                let (id, refusal) = candidate(session, &row, wish).await?;
                chosen.take(id, refusal);
            }
        }
    }
    Ok(chosen)
}

async fn candidate(session: &Session, row: &Row, wish: &Wish) -> Result<(Uuid, Option<Refusal>), Fault> {
    let (id, destination, state): (Uuid, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (reason, key_used_at, taken): (&str, i64, bool) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
    if taken {
        return Ok((id, Some(Refusal::InAnotherRedrive)));
    }
    if state != "dead" {
        return Ok((id, Some(Refusal::NotDead)));
    }
    let Some(remembered_from) = wish.destinations.get(&parse_origin(destination)?) else {
        return Ok((id, Some(Refusal::UnknownDestination)));
    };
    // Whatever a worker has reported is an event that it knows.
    if matches!(reason, "delivery_limit" | "unreported")
        && let Some(row) = session.query_first(BODY, &[&id]).await?
        && matches!(event::decode(row.try_get(0)?), Ok(Decoded::Unknown { .. }))
    {
        return Ok((id, Some(Refusal::UnknownEvent)));
    }
    let forgotten = remembered_from.map(Timestamp::as_microsecond).is_some_and(|from| key_used_at < from);
    Ok((id, (forgotten && !wish.force && !wish.new_key).then_some(Refusal::KeyExpired)))
}

pub(super) async fn plan(session: &Session, wish: &Wish) -> Result<Plan, Fault> {
    let chosen = choose(session, wish).await?;
    let mut sample = Vec::new();
    for id in chosen.ids.iter().take(Plan::SAMPLE) {
        sample.extend(dead_letters::one(session, *id).await?);
    }
    Ok(Plan { matched: chosen.ids.len() as u64, sample, refused: chosen.refused() })
}

pub(super) async fn create(session: &Session, wish: &Wish, terms: &Terms) -> Result<Created, Fault> {
    session.query(IN_TURN, &[]).await?;
    if let Some(idempotency) = &terms.idempotency
        && let Some(earlier) = earlier(session, idempotency).await?
    {
        return Ok(earlier);
    }
    let chosen = choose(session, wish).await?;
    if chosen.ids.is_empty() {
        return Ok(Created::Nothing(chosen.refused()));
    }
    let (id, at) = (Uuid::now_v7(), now().as_microsecond());
    let (selection, refused) = (json(&wish.selection)?, json(&chosen.refused())?);
    let (concurrency, matched) = (i64::from(terms.concurrency), signed(chosen.ids.len() as u64));
    let Terms { rate, stop_after_failed_share, body, new_key, .. } = terms;
    session
        .execute(
            INSERT,
            &[&id, &selection, rate, &concurrency, stop_after_failed_share, body, new_key, &matched, &refused, &at],
        )
        .await?;
    session.execute(ITEMS, &[&id, &chosen.ids]).await?;
    if let Some(Idempotency { scope, key, fingerprint, .. }) = &terms.idempotency {
        session.execute(KEY, &[scope, key, &fingerprint.as_slice(), &id, &at]).await?;
    }
    match one(session, id).await? {
        Some(redrive) => Ok(Created::New(Box::new(redrive))),
        None => Ok(Created::Nothing(Vec::new())),
    }
}

/// What the same key has made before.
async fn earlier(session: &Session, idempotency: &Idempotency) -> Result<Option<Created>, Fault> {
    let Idempotency { scope, key, expired_up_to, .. } = idempotency;
    let known = session.query_first(EARLIER, &[scope, key, &expired_up_to.as_microsecond()]).await?;
    let Some(row) = known else { return Ok(None) };
    let (fingerprint, id): (&[u8], Uuid) = (row.try_get(0)?, row.try_get(1)?);
    if !idempotency.matches(fingerprint) {
        return Ok(Some(Created::KeyReused));
    }
    Ok(one(session, id).await?.map(|redrive| Created::Replayed(Box::new(redrive))))
}
