//! The writer's transaction, tried again while that helps.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    BEGIN, Postgres, TRIES,
    accept::Orders,
    dead_letters, lease,
    record::{self, Lines},
    session,
};
use crate::{
    Acceptance, Batch, StoreFault,
    columns::signed,
    fault::{Fault, Remedy},
};

/// A lease that was not renewed for this long may have ended: a little less than its length.
pub(super) const LAPSED: Duration = Duration::from_secs(lease::LEASE as u64 - 2);
/// Losing a mark publishes once more; no caller waits for one.
const BEGIN_MARKS: &str = "BEGIN; SET LOCAL synchronous_commit = off";

/// How far a transaction had got when it failed.
struct Failed {
    fault: Fault,
    /// Whether it may have been committed all the same: only a repetition under its key shows.
    in_doubt: bool,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, in_doubt: false }
    }
}

impl From<StoreFault> for Failed {
    fn from(fault: StoreFault) -> Self {
        Fault::from(fault).into()
    }
}

impl Postgres {
    /// Tries again while that helps.
    pub(super) async fn commit_in_time(
        &mut self,
        batch: &Batch,
        orders: &Orders<'_>,
        lines: &Lines<'_>,
    ) -> Result<Vec<Acceptance>, StoreFault> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_commit(batch, orders, lines).await {
                Ok(acceptances) => return Ok(acceptances),
                Err(Failed { fault, in_doubt }) => {
                    let remedy = fault.remedy;
                    self.recover(&fault).await;
                    if in_doubt {
                        self.leave_in_doubt(batch);
                    }
                    if in_doubt || remedy == Remedy::None || tries == TRIES {
                        return Err(fault.into());
                    }
                }
            }
        }
    }

    /// One transaction. Statements that can go over the wire together do.
    async fn try_commit(
        &mut self,
        batch: &Batch,
        orders: &Orders<'_>,
        lines: &Lines<'_>,
    ) -> Result<Vec<Acceptance>, Failed> {
        let session = self.connection.session().await?;
        let owner = self.lease.owner(session).await?;
        let before = self.lease.take(batch.orders.len());
        let last = self.lease.last();
        let published_up_to = batch.published_up_to.map_or(0, signed);
        let marks = batch.orders.is_empty() && batch.records_nothing();
        let advance: session::Parameters<'_> = &[&owner, &last, &published_up_to, &lease::LEASE];
        let ((), renewed, taken, inserted) = tokio::try_join!(
            biased;
            session.batch(if marks { BEGIN_MARKS } else { BEGIN }),
            session.query_first(lease::ADVANCE, advance),
            orders.take_keys(session),
            lines.insert(session),
        )?;
        let Some(renewed) = renewed else {
            self.lease.lose();
            return Err(Fault::new(Remedy::Repeat, "another producer took this one's outbox over").into());
        };
        let others: bool = renewed.try_get(0).map_err(Fault::from)?;
        let (earlier, recorded, ()) = tokio::try_join!(
            biased;
            orders.earlier(session, taken),
            lines.merge(session, inserted),
            lease::advance_lanes(session, owner, &batch.lanes),
        )?;
        let acceptances = orders.judge(earlier, before);
        let ((), (), ()) = tokio::try_join!(
            biased;
            orders.insert(session, &acceptances, &self.destinations, owner, before),
            record::close(session, &recorded.ended),
            dead_letters::list(session, recorded.died),
        )?;
        session.commit().await.map_err(|fault| Failed { in_doubt: fault.remedy == Remedy::Reconnect, fault })?;
        self.renewed(others);
        self.notifier.notify(batch.changed());
        Ok(acceptances)
    }

    /// The lease is renewed. While it had ended, others had no reason to notify this producer.
    pub(super) fn renewed(&mut self, others: bool) {
        let before = self.renewed_at.replace(Instant::now());
        if before.is_some_and(|before| before.elapsed() > LAPSED) {
            self.notifier.missed();
        }
        self.notifier.others_live(others);
    }

    /// Orders that may have been committed must be published if they were, and are not handed to the relay.
    /// They are left in their outbox: when its lease has ended, and the server has finished their transaction,
    /// any producer that is alive takes over what is there.
    pub(super) fn leave_in_doubt(&self, batch: &Batch) {
        if !batch.orders.is_empty() {
            tracing::warn!(
                orders = batch.orders.len(),
                "the database did not say whether it committed them; if it did, they are published after the lease"
            );
            self.lease.lose();
        }
    }
}
