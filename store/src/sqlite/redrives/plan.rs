//! What a redrive would send, and the redrive that sends exactly that.

use std::collections::BTreeMap;

use common::event::{self, Decoded, now};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params, params_from_iter};
use uuid::Uuid;

use super::{
    super::dead_letters::{self, Condition},
    one,
};
use crate::{
    Created, Idempotency, Plan, Refusal, Refused, Selection, StoreFault, Terms, Wish,
    columns::{parse_origin, signed},
    dead_letters::stored::json,
};

/// What is looked at of a dead letter. A redrive that has not ended has it while it is queued there or under way.
const CANDIDATE: &str = "id, destination, state, reason, ifnull(key_used_at, failed_at),
     EXISTS (SELECT 1 FROM redrive_items WHERE dead_letter = id AND redrive_items.state IN ('queued', 'sending', 'sent'))";

struct Candidate {
    id: Uuid,
    destination: String,
    state: String,
    reason: String,
    key_used_at: i64,
    taken: bool,
}

impl Candidate {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            destination: row.get(1)?,
            state: row.get(2)?,
            reason: row.get(3)?,
            key_used_at: row.get(4)?,
            taken: row.get(5)?,
        })
    }

    fn refusal(&self, transaction: &Transaction<'_>, wish: &Wish) -> Result<Option<Refusal>, StoreFault> {
        if self.taken {
            return Ok(Some(Refusal::InAnotherRedrive));
        }
        if self.state != "dead" {
            return Ok(Some(Refusal::NotDead));
        }
        let Some(remembered_from) = wish.destinations.get(&parse_origin(&self.destination)?) else {
            return Ok(Some(Refusal::UnknownDestination));
        };
        // Whatever a worker has reported is an event that it knows.
        if matches!(self.reason.as_str(), "delivery_limit" | "unreported") && self.is_unknown_event(transaction)? {
            return Ok(Some(Refusal::UnknownEvent));
        }
        let forgotten = remembered_from.map(Timestamp::as_microsecond).is_some_and(|from| self.key_used_at < from);
        Ok((forgotten && !wish.force && !wish.new_key).then_some(Refusal::KeyExpired))
    }

    fn is_unknown_event(&self, transaction: &Transaction<'_>) -> Result<bool, StoreFault> {
        let body: Vec<u8> = transaction
            .prepare_cached("SELECT body FROM dead_letters WHERE id = ?1")?
            .query_row(params![self.id], |row| row.get(0))?;
        Ok(matches!(event::decode(&body), Ok(Decoded::Unknown { .. })))
    }
}

/// Everything that a redrive would send, oldest first, and what it would not.
struct Chosen {
    ids: Vec<Uuid>,
    refused: BTreeMap<Refusal, u64>,
}

impl Chosen {
    fn refused(&self) -> Vec<Refused> {
        self.refused.iter().map(|(&reason, &count)| Refused { reason, count }).collect()
    }
}

fn choose(transaction: &Transaction<'_>, wish: &Wish) -> Result<Chosen, StoreFault> {
    let mut chosen = Chosen { ids: Vec::new(), refused: BTreeMap::new() };
    let mut take = |id: Uuid, refusal: Option<Refusal>| match refusal {
        Some(refusal) => *chosen.refused.entry(refusal).or_default() += 1,
        None => chosen.ids.push(id),
    };
    match &wish.selection {
        Selection::Filter(filter) => {
            let condition = Condition::of(filter);
            let sql = format!("SELECT {CANDIDATE} FROM dead_letters WHERE {} ORDER BY id", condition.sql);
            let mut statement = transaction.prepare_cached(&sql)?;
            for candidate in statement.query_map(params_from_iter(condition.values), Candidate::read)? {
                let candidate = candidate?;
                take(candidate.id, candidate.refusal(transaction, wish)?);
            }
        }
        Selection::Ids(ids) => {
            let sql = format!("SELECT {CANDIDATE} FROM dead_letters WHERE id = ?1");
            let mut statement = transaction.prepare_cached(&sql)?;
            let mut ids = ids.clone();
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                let refusal = match statement.query_row(params![id], Candidate::read).optional()? {
                    Some(candidate) => candidate.refusal(transaction, wish)?,
                    None => Some(Refusal::NotFound),
                };
                take(id, refusal);
            }
        }
    }
    Ok(chosen)
}

pub(super) fn plan(connection: &mut Connection, wish: &Wish) -> Result<Plan, StoreFault> {
    let transaction = connection.transaction()?;
    let chosen = choose(&transaction, wish)?;
    let sample = chosen.ids.iter().take(Plan::SAMPLE);
    let sample = sample.filter_map(|id| dead_letters::one(&transaction, *id).transpose()).collect::<Result<_, _>>()?;
    Ok(Plan { matched: chosen.ids.len() as u64, sample, refused: chosen.refused() })
}

pub(super) fn create(connection: &mut Connection, wish: &Wish, terms: &Terms) -> Result<Created, StoreFault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(idempotency) = &terms.idempotency
        && let Some(earlier) = earlier(&transaction, idempotency)?
    {
        return Ok(earlier);
    }
    let chosen = choose(&transaction, wish)?;
    if chosen.ids.is_empty() {
        return Ok(Created::Nothing(chosen.refused()));
    }
    let (id, at) = (Uuid::now_v7(), now().as_microsecond());
    transaction
        .prepare_cached(
            "INSERT INTO redrives (id, status, filter, rate, concurrency, stop_after_failed_share, body, new_key, matched,
                 refused, judged_from, created_at, updated_at)
             VALUES (?1, 'running', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?10)",
        )?
        .execute(params![
            id,
            json(&wish.selection)?,
            terms.rate,
            terms.concurrency,
            terms.stop_after_failed_share,
            terms.body,
            terms.new_key,
            signed(chosen.ids.len() as u64),
            json(&chosen.refused())?,
            at,
        ])?;
    let mut item = transaction
        .prepare_cached("INSERT INTO redrive_items (redrive_id, dead_letter, state) VALUES (?1, ?2, 'queued')")?;
    for dead_letter in &chosen.ids {
        item.execute(params![id, dead_letter])?;
    }
    drop(item);
    if let Some(Idempotency { scope, key, fingerprint, .. }) = &terms.idempotency {
        transaction
            .prepare_cached(
                "INSERT INTO idempotency_keys (scope, key, fingerprint, order_id, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (scope, key) DO UPDATE SET fingerprint = excluded.fingerprint,
                 order_id = excluded.order_id, created_at = excluded.created_at",
            )?
            .execute(params![scope, key, fingerprint, id, at])?;
    }
    let redrive = one(&transaction, id)?.ok_or_else(|| StoreFault::Database("a new redrive is missing".to_owned()))?;
    transaction.commit()?;
    Ok(Created::New(Box::new(redrive)))
}

/// What the same key has made before.
fn earlier(transaction: &Transaction<'_>, idempotency: &Idempotency) -> Result<Option<Created>, StoreFault> {
    let known: Option<([u8; 32], Uuid)> = transaction
        .prepare_cached(
            "SELECT fingerprint, order_id FROM idempotency_keys WHERE scope = ?1 AND key = ?2 AND created_at > ?3",
        )?
        .query_row(params![idempotency.scope, idempotency.key, idempotency.expired_up_to.as_microsecond()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((fingerprint, id)) = known else { return Ok(None) };
    if !idempotency.matches(&fingerprint) {
        return Ok(Some(Created::KeyReused));
    }
    Ok(one(transaction, id)?.map(|redrive| Created::Replayed(Box::new(redrive))))
}
