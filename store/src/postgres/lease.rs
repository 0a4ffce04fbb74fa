//! The lease of a producer on its outbox: the positions that it gives, the time until which it counts as
//! alive, and the outboxes of others that have ended, which it takes over.
//!
//! The outbox of a producer is a row of `lines`, which names its owner, and the rows of `pending` with that owner.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use uuid::Uuid;

use super::session::Session;
use crate::{LaneMark, columns::signed, fault::Fault};

/// How long a producer counts as alive after its last commit, in seconds of the server's clock.
pub(super) const LEASE: f64 = 12.0;
/// How often the lease is renewed, and ended producers are looked for: a third of the lease.
pub(super) const TICK: Duration = Duration::from_secs(4);
/// Most orders that are taken over in one transaction.
const TAKEN_OVER: i64 = 2_000;

pub(super) const CREATE: &str = "
    INSERT INTO lines (owner, last_place, published_up_to, leased_until)
    VALUES ($1, $2, $2, now() + make_interval(secs => $3))";

/// How far the outbox is published to the destinations that are ahead of it.
pub(super) const ADVANCE_LANES: &str = "
    INSERT INTO lanes (owner, destination, published_up_to)
    SELECT $1, destination, up_to FROM unnest($2::text[], $3::bigint[]) AS new (destination, up_to)
    ON CONFLICT (owner, destination) DO UPDATE
    SET published_up_to = greatest(lanes.published_up_to, excluded.published_up_to)";

/// No row: the outbox is gone, because the lease had ended and another producer took it over.
pub(super) const ADVANCE: &str = "
    UPDATE lines
    SET last_place = $2, published_up_to = greatest(published_up_to, $3), leased_until = now() + make_interval(secs => $4)
    WHERE owner = $1
    RETURNING EXISTS (SELECT FROM lines AS other WHERE other.owner <> $1 AND other.leased_until > now())";

/// The outbox of a producer that has ended, for this transaction alone. The producer's own row is locked
/// before, so that two that take over each other's outbox do not wait for one another.
const DEAD: &str = "
    SELECT owner, published_up_to FROM lines WHERE owner <> $1 AND leased_until < now()
    ORDER BY owner LIMIT 1 FOR UPDATE SKIP LOCKED";

/// What a destination has already is noted, so that it is not published there again.
/// A row that is locked because an outcome is being recorded is taken over next time, if it is still there.
const TAKE_OVER: &str = "
    WITH dead AS MATERIALIZED (
        SELECT order_id, place FROM pending WHERE owner = $1 AND place > $2
        ORDER BY place LIMIT $3 FOR UPDATE SKIP LOCKED
    ), numbered AS MATERIALIZED (
        SELECT order_id, place, row_number() OVER (ORDER BY place) AS n FROM dead
    )
    UPDATE pending SET owner = $4, place = $5 + n, published_to = published_to || (
        SELECT array_agg(destination) FROM lanes WHERE lanes.owner = $1 AND published_up_to >= numbered.place)
    FROM numbered WHERE pending.order_id = numbered.order_id";

const REMOVE_IF_EMPTY: &str = "
    DELETE FROM lines WHERE owner = $1
    AND NOT EXISTS (SELECT FROM pending WHERE pending.owner = $1 AND place > lines.published_up_to)";

const RELEASE: &str = "UPDATE lines SET leased_until = '-infinity' WHERE owner = $1";

/// What the writer's session prepares.
pub(super) const STATEMENTS: &[&str] = &[CREATE, ADVANCE, ADVANCE_LANES, DEAD, TAKE_OVER, REMOVE_IF_EMPTY, RELEASE];

/// The owner of this producer's outbox; `None` while it has none. The desk and the writer share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owner(Arc<Mutex<Option<Uuid>>>);

impl Owner {
    pub(crate) fn get(&self) -> Option<Uuid> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, owner: Option<Uuid>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = owner;
    }
}

/// The writer's hold on its outbox.
#[derive(Debug)]
pub(super) struct Lease {
    owner: Owner,
    /// The last position that was given, whatever became of the transaction. It outlives the lease.
    last: i64,
}

/// What was taken over from other producers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TakenOver {
    pub(super) rows: i64,
    /// Whether there may be more.
    pub(super) more: bool,
}

impl Lease {
    pub(super) fn new(owner: Owner) -> Self {
        Self { owner, last: 0 }
    }

    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// Sets positions aside, and returns the one before them. They are never given again.
    pub(super) fn take(&mut self, positions: usize) -> i64 {
        let before = self.last;
        self.last = before.saturating_add(i64::try_from(positions).unwrap_or(i64::MAX));
        before
    }

    /// The owner of the outbox, which is created if there is none. It continues after the last position: what
    /// this process remembers of an earlier one lies before it.
    pub(super) async fn owner(&self, session: &Session) -> Result<Uuid, Fault> {
        if let Some(owner) = self.owner.get() {
            return Ok(owner);
        }
        let owner = Uuid::now_v7();
        session.execute(CREATE, &[&owner, &self.last, &LEASE]).await?;
        self.owner.set(Some(owner));
        Ok(owner)
    }

    /// The outbox is lost: the next one is another.
    pub(super) fn lose(&self) {
        self.owner.set(None);
    }

    /// Takes over a part of the outbox of a producer that has ended. In a transaction that has renewed this
    /// producer's own lease.
    pub(super) async fn take_over(&mut self, session: &Session, owner: Uuid) -> Result<TakenOver, Fault> {
        let Some(dead) = session.query_first(DEAD, &[&owner]).await? else { return Ok(TakenOver::default()) };
        let (dead, published_up_to): (Uuid, i64) = (dead.try_get(0)?, dead.try_get(1)?);
        let before = self.last;
        let rows = session.execute(TAKE_OVER, &[&dead, &published_up_to, &TAKEN_OVER, &owner, &before]).await?;
        let removed = session.execute(REMOVE_IF_EMPTY, &[&dead]).await?;
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        if rows > 0 {
            self.last = before.saturating_add(rows);
            session.query(ADVANCE, &[&owner, &self.last, &0_i64, &LEASE]).await?;
        }
        // If only locked rows are left, they are looked at again at the next tick.
        Ok(TakenOver { rows, more: rows > 0 || removed > 0 })
    }

    /// Ends the lease, so that others need not wait for its end.
    pub(super) async fn release(&self, session: &Session) -> Result<(), Fault> {
        let Some(owner) = self.owner.get() else { return Ok(()) };
        if session.execute(REMOVE_IF_EMPTY, &[&owner]).await? == 0 {
            session.execute(RELEASE, &[&owner]).await?;
        }
        self.owner.set(None);
        Ok(())
    }
}

/// Notes how far the outbox is published to the destinations that are ahead of it.
pub(super) async fn advance_lanes(session: &Session, owner: Uuid, lanes: &[LaneMark]) -> Result<(), Fault> {
    if lanes.is_empty() {
        return Ok(());
    }
    let (destinations, up_to): (Vec<_>, Vec<_>) =
        lanes.iter().map(|lane| (lane.destination.as_str(), signed(lane.up_to))).unzip();
    session.execute(ADVANCE_LANES, &[&owner, &destinations, &up_to]).await?;
    Ok(())
}
