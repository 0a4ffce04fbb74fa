//! What a redrive would send, and the redrive that sends exactly that.

use common::{
    event::{self, Decoded, now},
    outcome::Reason,
    status::{DeadLetterState, Refusal},
};
use uuid::Uuid;

use super::{
    Desk,
    dead_letters::{self, FilterValues},
    redrives,
};
use crate::{
    Created, Idempotency, Plan, RedriveRequest, RedriveTerms, Selection, StoreFault,
    columns::{json, signed},
    fault::Fault,
    rules::{Candidate, Chosen, Verdict},
    sql::{Array, Row, Sql, Text, ids},
};

/// What [`candidate`] reads. A redrive that has not ended has a dead letter while it is queued there or under way.
macro_rules! candidates {
    ($where:literal) => {
        concat!(
            "
            SELECT id, destination, state, reason, coalesce(key_used_at, failed_at), EXISTS (
                SELECT 1 FROM redrive_items
                WHERE dead_letter = id AND redrive_items.state IN ('queued', 'sending', 'sent'))
            FROM dead_letters WHERE ",
            $where
        )
    };
}

/// With the operator that ignores case, and the condition on the order.
macro_rules! by_filter {
    ($like:literal, $order:literal) => {
        concat!(
            candidates!("state = 'dead' AND (archived_at IS NOT NULL) = $1"),
            "
                AND ($2::text IS NULL OR destination = $2) AND ($3::text IS NULL OR reason = $3)
                AND ($4::integer IS NULL OR status_code = $4) AND ($5::text IS NULL OR error ",
            $like,
            r" $5 ESCAPE '\') AND ",
            $order,
            "
                AND ($7::bigint IS NULL OR failed_at >= $7) AND ($8::bigint IS NULL OR failed_at < $8)
            ORDER BY id"
        )
    };
}

const BY_FILTER: Text =
    Text { sqlite: by_filter!("LIKE", "$6::uuid IS NULL"), postgres: by_filter!("ILIKE", "$6::uuid IS NULL") };
/// An order has few dead letters, which are found by it and not among all others.
const BY_ORDER: Text =
    Text { sqlite: by_filter!("LIKE", "order_id = $6"), postgres: by_filter!("ILIKE", "order_id = $6") };
const BY_ID: Text = ids!(candidates!("id"), "$1", " ORDER BY id");
const BODY: Text = Text::of("SELECT body FROM dead_letters WHERE id = $1");
/// Two producers that make redrives at the same moment must not take the same dead letter.
const IN_TURN: &str = "SELECT pg_advisory_xact_lock(hashtext('redrives'))";
const EARLIER: Text =
    Text::of("SELECT fingerprint, order_id FROM idempotency_keys WHERE scope = $1 AND key = $2 AND created_at > $3");
const INSERT: Text = Text::of(
    "
    INSERT INTO redrives (id, status, filter, rate, concurrency, stop_after_failed_share, body, new_key, matched,
        refused, judged_from, created_at, updated_at)
    VALUES ($1, 'running', $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $10)",
);
const ITEMS: Text = Text {
    sqlite: "
    INSERT INTO redrive_items (redrive_id, dead_letter, state) SELECT $1, unhex(value), 'queued' FROM json_each($2)",
    postgres: "
    INSERT INTO redrive_items (redrive_id, dead_letter, state) SELECT $1, id, 'queued' FROM unnest($2::uuid[]) AS id",
};
/// The row of an expired key that was not swept yet is the new one's.
const KEY: Text = Text::of(
    "
    INSERT INTO idempotency_keys (scope, key, fingerprint, order_id, created_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (scope, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, created_at = excluded.created_at",
);

impl Desk {
    /// What a redrive would send, without making one.
    pub async fn plan_redrive(&self, request: RedriveRequest) -> Result<Plan, StoreFault> {
        self.operators.read(async move |sql| plan(sql, &request).await).await
    }

    /// Makes a redrive in one transaction, which is its cut-off: what fails later is not in it.
    pub async fn create_redrive(&self, request: RedriveRequest, terms: RedriveTerms) -> Result<Created, StoreFault> {
        self.operators.write(async move |sql| create(sql, &request, &terms).await).await
    }
}

async fn plan(sql: Sql<'_>, request: &RedriveRequest) -> Result<Plan, Fault> {
    let chosen = choose(sql, request).await?;
    let mut sample = Vec::new();
    for id in chosen.ids.iter().take(Plan::SAMPLE) {
        sample.extend(dead_letters::one(sql, *id).await?);
    }
    Ok(Plan { matched: chosen.ids.len() as u64, sample, refused: chosen.refused() })
}

async fn create(sql: Sql<'_>, request: &RedriveRequest, terms: &RedriveTerms) -> Result<Created, Fault> {
    if let Sql::Postgres(session) = sql {
        session.query(IN_TURN, &[]).await?;
    }
    if let Some(idempotency) = &terms.idempotency
        && let Some(earlier) = earlier(sql, idempotency).await?
    {
        return Ok(earlier);
    }
    let chosen = choose(sql, request).await?;
    if chosen.ids.is_empty() {
        return Ok(Created::Nothing(chosen.refused()));
    }
    let (id, at) = (Uuid::now_v7(), now().as_microsecond());
    let (selection, refused) = (json(&request.selection)?, json(&chosen.refused())?);
    let (concurrency, matched) = (i64::from(terms.concurrency), signed(chosen.ids.len() as u64));
    let RedriveTerms { rate, stop_after_failed_share, body, new_key, idempotency, .. } = terms;
    sql.execute(
        INSERT,
        &[&id, &selection, rate, &concurrency, stop_after_failed_share, body, new_key, &matched, &refused, &at],
    )
    .await?;
    sql.execute(ITEMS, &[&id, &Array(&chosen.ids)]).await?;
    if let Some(Idempotency { scope, key, fingerprint, .. }) = idempotency {
        sql.execute(KEY, &[scope, key, &fingerprint.as_slice(), &id, &at]).await?;
    }
    let redrive = redrives::one(sql, id).await?;
    let redrive = redrive.ok_or_else(|| StoreFault::Database("a new redrive is missing".to_owned()))?;
    Ok(Created::New(Box::new(redrive)))
}

/// The answer to a key that was used before, and has not expired.
async fn earlier(sql: Sql<'_>, idempotency: &Idempotency) -> Result<Option<Created>, Fault> {
    let Idempotency { scope, key, expired_up_to, .. } = idempotency;
    let read = |row: &Row<'_>| Ok((row.get::<Vec<u8>>(0)?, row.get::<Uuid>(1)?));
    let used = sql.first(EARLIER, &[scope, key, &expired_up_to.as_microsecond()], read).await?;
    let Some((fingerprint, id)) = used else { return Ok(None) };
    if !idempotency.matches(&fingerprint) {
        return Ok(Some(Created::KeyReused));
    }
    Ok(redrives::one(sql, id).await?.map(|redrive| Created::Replayed(Box::new(redrive))))
}

/// Decides about every dead letter of the selection, oldest first.
async fn choose(sql: Sql<'_>, request: &RedriveRequest) -> Result<Chosen, Fault> {
    let mut chosen = Chosen::default();
    let mut judged = Vec::new();
    let mut judge = |row: &Row<'_>| {
        let candidate = candidate(row)?;
        judged.push((candidate.id, candidate.judge(request)));
        Ok(std::ops::ControlFlow::Continue(()))
    };
    match &request.selection {
        Selection::Filter(filter) => {
            let text = if filter.order_id.is_some() { BY_ORDER } else { BY_FILTER };
            sql.each(text, &FilterValues::of(filter).all(), judge).await?;
        }
        Selection::Ids(ids) => {
            let mut ids = ids.clone();
            ids.sort_unstable();
            ids.dedup();
            sql.each(BY_ID, &[&Array(&ids)], &mut judge).await?;
            chosen.refuse(Refusal::NotFound, (ids.len() - judged.len()) as u64);
        }
    }
    for (id, verdict) in judged {
        let refusal = match verdict {
            Verdict::Take => None,
            Verdict::Refuse(refusal) => Some(refusal),
            Verdict::Read(_) if is_unknown_event(sql, id).await? => Some(Refusal::UnknownEvent),
            Verdict::Read(otherwise) => otherwise,
        };
        chosen.add(id, refusal);
    }
    Ok(chosen)
}

fn candidate(row: &Row<'_>) -> Result<Candidate, Fault> {
    Ok(Candidate {
        id: row.get(0)?,
        origin: row.origin(1)?,
        state: row.word(2, &DeadLetterState::ALL)?,
        reason: row.open_word(3, &Reason::ALL)?,
        key_used_at: row.time(4)?,
        taken: row.get(5)?,
    })
}

async fn is_unknown_event(sql: Sql<'_>, id: Uuid) -> Result<bool, Fault> {
    let body = sql.first(BODY, &[&id], |row| row.get::<Vec<u8>>(0)).await?;
    Ok(body.is_some_and(|body| matches!(event::decode(&body), Ok(Decoded::Unknown { .. }))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sqlite::open, testing::Scratch};

    #[test]
    fn a_redrive_of_one_order_reads_no_other_dead_letters() {
        let scratch = Scratch::default();
        let connection = open(scratch.path()).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", BY_ORDER.sqlite)).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push_str(&row.get::<_, String>("detail").unwrap());
        }
        assert!(plan.contains("INDEX dead_letters_by_order (order_id=?)"), "{plan}");
    }
}
