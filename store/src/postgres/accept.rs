//! Accepting orders: keys, orders and outbox, a whole group with each statement.

use std::collections::HashMap;

use common::order::OrderId;
use uuid::Uuid;

use super::session::Session;
use crate::{
    Acceptance, Idempotency, Placed,
    columns::unsigned,
    fault::{Fault, Remedy},
    rules::{Used, repeated},
};

/// In the order of the keys, so that two producers with the same ones wait for each other in turn and
/// not in a circle. The second one waits for the end of the first, and then finds the key taken. The
/// row of an expired key that was not swept yet is the new one's.
const TAKE_KEYS: &str = "
    INSERT INTO idempotency_keys AS known (scope, key, fingerprint, order_id, created_at)
    SELECT scope, key, fingerprint, order_id, created_at
    FROM unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[], $5::bigint[])
        AS new (scope, key, fingerprint, order_id, created_at)
    ON CONFLICT (scope, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, created_at = excluded.created_at
    WHERE known.created_at <= excluded.created_at - $6";

const KEYS: &str = "
    SELECT scope, key, fingerprint, order_id, event
    FROM unnest($1::text[], $2::text[]) AS asked (scope, key)
    JOIN idempotency_keys USING (scope, key) LEFT JOIN orders USING (order_id)";

const INSERT: &str = "
    WITH inserted AS (
        INSERT INTO orders (order_id, customer_id, created_at, event, traceparent, destinations)
        SELECT order_id, customer_id, created_at, event, traceparent, $6
        FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bytea[], $5::text[])
            AS new (order_id, customer_id, created_at, event, traceparent)
    )
    INSERT INTO pending (order_id, open, owner, place)
    SELECT order_id, $6, $7, $8 + n FROM unnest($1::uuid[]) WITH ORDINALITY AS new (order_id, n)";

/// What the writer's session prepares.
pub(super) const STATEMENTS: &[&str] = &[TAKE_KEYS, KEYS, INSERT];

/// The orders of a batch, as they are written.
pub(super) struct Orders<'a> {
    placed: &'a [Placed],
    /// Each key once with the order that came first with it, in the order of keys.
    keys: Vec<(&'a Idempotency, &'a Placed)>,
}

/// What identifies a key.
fn name(idempotency: &Idempotency) -> (&str, &str) {
    (&idempotency.scope, &idempotency.key)
}

/// What the keys of a batch were used for before.
pub(super) type Earlier<'a> = HashMap<(&'a str, &'a str), Used>;

impl<'a> Orders<'a> {
    pub(super) fn new(placed: &'a [Placed]) -> Self {
        let mut keys: Vec<_> =
            placed.iter().filter_map(|placed| Some((placed.idempotency.as_ref()?, placed))).collect();
        // Stable: of twins, the first stays the first.
        keys.sort_by(|(a, _), (b, _)| name(a).cmp(&name(b)));
        keys.dedup_by(|(later, _), (first, _)| name(later) == name(first));
        Self { placed, keys }
    }

    fn names(&self) -> (Vec<&'a str>, Vec<&'a str>) {
        self.keys.iter().map(|(idempotency, _)| name(idempotency)).unzip()
    }

    /// Takes the keys that are free. Returns how many were.
    pub(super) async fn take_keys(&self, session: &Session) -> Result<u64, Fault> {
        if self.keys.is_empty() {
            return Ok(0);
        }
        let (scopes, keys) = self.names();
        let fingerprints: Vec<_> = self.keys.iter().map(|(idempotency, _)| &idempotency.fingerprint[..]).collect();
        let order_ids: Vec<_> = self.keys.iter().map(|(_, placed)| placed.order_id.0).collect();
        let times: Vec<_> = self.keys.iter().map(|(_, placed)| placed.accepted_at.as_microsecond()).collect();
        // The lifetime of keys is a setting of the process, the same for all of them.
        let lives = |(idempotency, placed): &(&Idempotency, &Placed)| {
            placed.accepted_at.as_microsecond().saturating_sub(idempotency.expired_up_to.as_microsecond())
        };
        let ttl = self.keys.iter().map(lives).max().unwrap_or(i64::MAX);
        session.execute(TAKE_KEYS, &[&scopes, &keys, &fingerprints, &order_ids, &times, &ttl]).await
    }

    /// What the keys that were not free were used for. Nothing is asked if all were free.
    pub(super) async fn earlier(&self, session: &Session, taken: u64) -> Result<Earlier<'a>, Fault> {
        if usize::try_from(taken).ok() == Some(self.keys.len()) {
            return Ok(Earlier::new());
        }
        let (scopes, keys) = self.names();
        let rows = session.query(KEYS, &[&scopes, &keys]).await?;
        if rows.len() < keys.len() {
            // It was swept between the two statements.
            return Err(Fault::new(Remedy::Repeat, "an idempotency key has just expired"));
        }
        let mut earlier = Earlier::with_capacity(rows.len());
        for row in rows {
            let (asked, fingerprint, order_id): ((&str, &str), Vec<u8>, Uuid) =
                ((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?, row.try_get(3)?);
            let order_id = OrderId(order_id);
            let ours = self.keys.binary_search_by(|(idempotency, _)| name(idempotency).cmp(&asked));
            let Some((idempotency, placed)) = ours.ok().and_then(|index| self.keys.get(index)) else { continue };
            if placed.order_id == order_id {
                continue;
            }
            let event: Option<&[u8]> = row.try_get(4)?;
            earlier.insert(name(idempotency), Used::new(fingerprint, order_id, event, placed)?);
        }
        Ok(earlier)
    }

    /// What becomes of each order, with positions from the one after `before`.
    pub(super) fn judge(&self, mut known: Earlier<'a>, before: i64) -> Vec<Acceptance> {
        let mut position = before;
        let mut acceptances = Vec::with_capacity(self.placed.len());
        let mut twins: HashMap<(&str, &str), (&Idempotency, &Placed)> = HashMap::new();
        for placed in self.placed {
            if let Some(idempotency) = &placed.idempotency {
                let key = name(idempotency);
                if let Some((first, used_by)) = twins.get(&key) {
                    known.entry(key).or_insert_with(|| Used::just_now(first, used_by));
                }
                if let Some(used) = known.get(&key) {
                    acceptances.push(repeated(idempotency, used));
                    continue;
                }
                twins.insert(key, (idempotency, placed));
            }
            position += 1;
            acceptances.push(Acceptance::New(unsigned(position)));
        }
        acceptances
    }

    /// Writes those that are new, in the order of their positions.
    pub(super) async fn insert(
        &self,
        session: &Session,
        acceptances: &[Acceptance],
        destinations: &[String],
        owner: Uuid,
        before: i64,
    ) -> Result<(), Fault> {
        let new: Vec<_> = (self.placed.iter().zip(acceptances))
            .filter(|(_, acceptance)| matches!(acceptance, Acceptance::New(_)))
            .map(|(placed, _)| placed)
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let order_ids: Vec<_> = new.iter().map(|placed| placed.order_id.0).collect();
        let customers: Vec<_> = new.iter().map(|placed| placed.customer_id.as_str()).collect();
        let times: Vec<_> = new.iter().map(|placed| placed.accepted_at.as_microsecond()).collect();
        let bodies: Vec<_> = new.iter().map(|placed| placed.body.as_ref()).collect();
        let traces: Vec<_> = new.iter().map(|placed| placed.trace.to_string()).collect();
        session
            .execute(INSERT, &[&order_ids, &customers, &times, &bodies, &traces, &destinations, &owner, &before])
            .await?;
        Ok(())
    }
}
