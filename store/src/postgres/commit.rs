//! The writer's transaction, tried as often as it helps.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    BEGIN, Postgres, TRIES,
    accept::Orders,
    line,
    record::{self, Outcomes},
    session,
};
use crate::{
    Acceptance, Batch, StoreFault,
    columns::signed,
    fault::{Fault, Remedy},
};

/// A lease that was not renewed for so long may have been over: a little less than its length.
pub(super) const LAPSED: Duration = Duration::from_secs(line::LEASE as u64 - 2);
/// Losing a mark publishes once more; no caller waits for one.
const BEGIN_MARKS: &str = "BEGIN; SET LOCAL synchronous_commit = off";

/// How far a transaction had got when it failed.
struct Failed {
    fault: Fault,
    /// Whether it may have been committed all the same: only the caller's repetition under its key tells.
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
    /// Tries as often as it helps.
    pub(super) async fn commit_in_time(
        &mut self,
        batch: &Batch,
        orders: &Orders<'_>,
        outcomes: &Outcomes<'_>,
    ) -> Result<Vec<Acceptance>, StoreFault> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_commit(batch, orders, outcomes).await {
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

    /// One transaction. What can go over the wire together does.
    async fn try_commit(
        &mut self,
        batch: &Batch,
        orders: &Orders<'_>,
        outcomes: &Outcomes<'_>,
    ) -> Result<Vec<Acceptance>, Failed> {
        let session = self.link.session().await?;
        let owner = self.line.owner(session).await?;
        let before = self.line.take(batch.orders.len());
        let last = self.line.last();
        let published_up_to = batch.published_up_to.map_or(0, signed);
        let marks = batch.orders.is_empty() && batch.outcomes.is_empty();
        let advance: session::Parameters<'_> = &[&owner, &last, &published_up_to, &line::LEASE];
        let ((), line, taken, inserted) = tokio::try_join!(
            biased;
            session.batch(if marks { BEGIN_MARKS } else { BEGIN }),
            session.query_first(line::ADVANCE, advance),
            orders.take_keys(session),
            outcomes.insert(session),
        )?;
        let Some(line) = line else {
            self.line.lose();
            return Err(Fault::new(Remedy::Repeat, "another producer took this one's line over").into());
        };
        let others: bool = line.try_get(0).map_err(Fault::from)?;
        let (earlier, ended) =
            tokio::try_join!(biased; orders.earlier(session, taken), outcomes.merge(session, inserted))?;
        let acceptances = orders.judge(earlier, before);
        let ((), ()) = tokio::try_join!(
            biased;
            orders.insert(session, &acceptances, &self.destinations, owner, before),
            record::close(session, &ended),
        )?;
        session.commit().await.map_err(|fault| Failed { in_doubt: fault.remedy == Remedy::Reconnect, fault })?;
        self.renewed(others);
        self.news.tell(batch.outcomes.iter().map(|outcome| outcome.order_id));
        Ok(acceptances)
    }

    /// The lease is renewed. While it was over, others had no reason to tell us anything.
    pub(super) fn renewed(&mut self, others: bool) {
        let before = self.renewed_at.replace(Instant::now());
        if before.is_some_and(|before| before.elapsed() > LAPSED) {
            self.news.missed();
        }
        self.news.others_live(others);
    }

    /// Orders of which nobody knows whether they were committed must be published if they were, and nobody
    /// hands them over. They are left to their line: when its lease is over, and the server has done with
    /// their transaction, whoever lives takes over what is there.
    pub(super) fn leave_in_doubt(&self, batch: &Batch) {
        if !batch.orders.is_empty() {
            tracing::warn!(
                orders = batch.orders.len(),
                "the database did not say whether it committed them; if it did, they are published after the lease"
            );
            self.line.lose();
        }
    }
}
