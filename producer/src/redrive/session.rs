//! One session of the runner with the broker: take, publish, mark, until nothing is left to do.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use common::{
    broker::{BrokerFault, publisher::Publisher},
    health::{self, Component},
    status::RedriveStatus,
    timer,
};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Runner, bring_forward, bucket::Bucket, message};
use store::{RedriveItem, RunningRedrive, StoreFault};

/// Most dead letters in flight.
const WINDOW: usize = 1_024;
/// Most bytes in flight, give or take what is taken at once.
const WINDOW_BYTES: usize = 8 * 1_024 * 1_024;
/// How many are taken from the store at a time.
const PAGE: u32 = 512;
/// The shortest pause between two looks at the redrives.
const TICK: Duration = Duration::from_millis(100);
/// The longest pause while redrives run: other producers record outcomes too.
const LOOK: Duration = Duration::from_secs(1);
/// The pause before what the broker refused (a queue is full) is published again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// What one session has in hand.
#[derive(Default)]
struct Hand {
    /// To be published: taken, or left unconfirmed by an earlier session.
    waiting: VecDeque<RedriveItem>,
    /// Published and not confirmed.
    in_flight: HashSet<Uuid>,
    bytes_in_flight: usize,
    /// Confirmed and not marked.
    confirmed: Vec<Uuid>,
    /// What an earlier session left unconfirmed is read from the store beyond this one.
    recover: Option<Recover>,
    /// When publishing goes on after a refusal.
    retry_at: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
struct Recover {
    after: Option<Uuid>,
}

impl Hand {
    fn has_room(&self) -> bool {
        let waiting: usize = self.waiting.iter().map(|item| item.body.len()).sum();
        self.in_flight.len() + self.waiting.len() < WINDOW && self.bytes_in_flight + waiting < WINDOW_BYTES
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty() && self.confirmed.is_empty() && self.recover.is_none()
    }
}

/// What a look at the redrives found.
enum Look {
    /// Look again then.
    At(Instant),
    /// There is no redrive to run, or another process runs them.
    Nothing,
}

impl Runner {
    /// Works until there is nothing more to do, or `shutdown`.
    pub(super) async fn session(
        &mut self,
        mut publisher: Publisher<RedriveItem>,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> Result<(), BrokerFault> {
        let mut hand = Hand { recover: Some(Recover::default()), ..Hand::default() };
        let mut recorded = self.watch.any();
        let mut health_tick = health::ticks();
        let mut look_at = Instant::now();
        let mut looked_at = look_at;
        component.up();
        loop {
            if look_at <= Instant::now() {
                recorded.mark_unchanged();
                looked_at = Instant::now();
                look_at = match self.look(&mut hand).await {
                    Ok(Look::At(at)) => at,
                    Ok(Look::Nothing) if hand.is_empty() => break,
                    Ok(Look::Nothing) => Instant::now() + LOOK,
                    Err(fault) => {
                        // What was asked may have been done all the same.
                        hand.recover = Some(Recover::default());
                        self.store_failed(fault, component);
                        Instant::now() + LOOK
                    }
                };
            }
            self.publish(&mut publisher, &mut hand);
            let retry_at = hand.retry_at;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                // Before the rest: a busy runner must not look dead.
                _ = health_tick.tick() => {
                    publisher.check()?;
                    self.report_health(component, &publisher, &hand);
                }
                resolved = publisher.resolved() => {
                    let resolved = resolved?;
                    self.resolve(&mut hand, resolved.confirmed, resolved.refused);
                    // Marked with the next look, which is not far.
                    bring_forward(&mut look_at, looked_at + TICK);
                }
                () = self.wake.0.notified() => {
                    hand.recover.get_or_insert_default();
                    bring_forward(&mut look_at, Instant::now());
                }
                Ok(()) = recorded.changed() => bring_forward(&mut look_at, looked_at + TICK),
                () = timer::at(retry_at) => hand.retry_at = None,
                () = sleep_until(look_at) => {}
            }
        }
        self.drain(publisher, hand).await
    }

    /// Marks what is confirmed, ends redrives, and takes what may be sent now.
    async fn look(&mut self, hand: &mut Hand) -> Result<Look, StoreFault> {
        self.mark(hand).await?;
        if !self.lease().await? {
            // Another process goes on with what is unconfirmed here.
            hand.waiting.clear();
            hand.recover = None;
            return Ok(Look::Nothing);
        }
        self.recover(hand).await?;
        let jobs = self.desk.running_redrives().await?;
        self.fault = None;
        self.metrics.running.set(i64::try_from(jobs.len()).unwrap_or(i64::MAX));
        self.buckets.retain(|id, _| jobs.iter().any(|job| job.id == *id));
        if jobs.is_empty() {
            return Ok(Look::Nothing);
        }
        let mut next = Instant::now() + LOOK;
        self.turn = self.turn.wrapping_add(1);
        for index in 0..jobs.len() {
            let job = &jobs[(index + self.turn) % jobs.len()];
            if let Some(at) = self.step(job, hand).await? {
                bring_forward(&mut next, at.max(Instant::now() + TICK));
            }
        }
        Ok(Look::At(next))
    }

    /// One redrive: ends it, or takes what may be sent now. Returns when to look at it next.
    async fn step(&mut self, job: &RunningRedrive, hand: &mut Hand) -> Result<Option<Instant>, StoreFault> {
        if !job.queued {
            if job.under_way == 0 {
                self.desk.end_redrive(job.id, RedriveStatus::Completed, None).await?;
                self.buckets.remove(&job.id);
                tracing::info!(redrive = %job.id, "a redrive is completed");
            }
            return Ok(None);
        }
        if let Some(detail) = fails_too_often(job) {
            self.desk.end_redrive(job.id, RedriveStatus::Stopped, Some(detail.clone())).await?;
            self.buckets.remove(&job.id);
            tracing::warn!(redrive = %job.id, detail, "a redrive has stopped");
            return Ok(None);
        }
        let free = job.concurrency.saturating_sub(job.under_way);
        let now = Instant::now();
        let bucket = self.buckets.entry(job.id).or_insert_with(|| Bucket::new(now));
        let allowed = bucket.fill(job.rate, now).min(free).min(PAGE);
        if free == 0 || hand.recover.is_some() || !hand.has_room() {
            // An outcome or a confirm wakes the runner.
            return Ok(None);
        }
        if allowed == 0 {
            return Ok(Some(bucket.next(job.rate)));
        }
        let taken = self.desk.take_redrive(job.id, allowed).await?;
        if let Some(bucket) = self.buckets.get_mut(&job.id) {
            bucket.take(taken.len());
        }
        self.reopened(&taken);
        hand.waiting.extend(taken);
        Ok(Some(now))
    }

    /// Reads what was left unconfirmed, page by page. Nothing new is taken before all of it is in hand.
    async fn recover(&mut self, hand: &mut Hand) -> Result<(), StoreFault> {
        while let Some(Recover { after }) = hand.recover.filter(|_| hand.has_room()) {
            let page = self.desk.unconfirmed_redrives(after, PAGE).await?;
            hand.recover = page.last().map(|last| Recover { after: Some(last.dead_letter) });
            let known: HashSet<_> = hand.waiting.iter().map(|item| item.dead_letter).collect();
            let left = page
                .into_iter()
                .filter(|item| !hand.in_flight.contains(&item.dead_letter) && !known.contains(&item.dead_letter));
            let left: Vec<_> = left.collect();
            if !left.is_empty() {
                tracing::info!(dead_letters = left.len(), "left unconfirmed, publishing them again");
            }
            hand.waiting.extend(left);
        }
        Ok(())
    }

    fn publish(&self, publisher: &mut Publisher<RedriveItem>, hand: &mut Hand) {
        if hand.retry_at.is_some() {
            return;
        }
        while let Some(item) = hand.waiting.pop_front() {
            let queue = self.broker.names().queue_of(&item.origin);
            hand.in_flight.insert(item.dead_letter);
            hand.bytes_in_flight += item.body.len();
            publisher.publish_redriven(&queue, message(&item), item);
        }
    }

    fn resolve(&self, hand: &mut Hand, confirmed: Vec<RedriveItem>, refused: Vec<RedriveItem>) {
        for item in confirmed.iter().chain(&refused) {
            hand.in_flight.remove(&item.dead_letter);
            hand.bytes_in_flight = hand.bytes_in_flight.saturating_sub(item.body.len());
        }
        self.metrics.sent.inc_by(confirmed.len() as u64);
        hand.confirmed.extend(confirmed.into_iter().map(|item| item.dead_letter));
        if !refused.is_empty() {
            tracing::warn!(
                dead_letters = refused.len(),
                "the broker refused dead letters, a queue is full; trying again"
            );
            hand.waiting.extend(refused);
            hand.retry_at.get_or_insert_with(|| Instant::now() + REFUSED_PAUSE);
        }
    }

    async fn mark(&self, hand: &mut Hand) -> Result<(), StoreFault> {
        if !hand.confirmed.is_empty() {
            self.desk.sent_redrives(hand.confirmed.clone()).await?;
            hand.confirmed.clear();
        }
        Ok(())
    }

    fn report_health(&self, component: &Component, publisher: &Publisher<RedriveItem>, hand: &Hand) {
        if publisher.blocked() {
            component.down("the broker accepts nothing from publishers at the moment (memory or disk alarm)");
        } else if hand.retry_at.is_some() {
            component.down("the broker refuses dead letters: a queue is full");
        } else if self.fault.is_none() {
            component.up();
        } else {
            component.sign_of_life();
        }
    }

    /// Waits for the confirms of what is in flight, takes nothing new.
    async fn drain(&self, mut publisher: Publisher<RedriveItem>, mut hand: Hand) -> Result<(), BrokerFault> {
        let deadline = Instant::now() + self.grace;
        while publisher.in_flight() > 0 {
            match timeout_at(deadline, publisher.resolved()).await {
                Ok(resolved) => {
                    let resolved = resolved?;
                    self.resolve(&mut hand, resolved.confirmed, resolved.refused);
                }
                Err(_) => break,
            }
        }
        if let Err(fault) = self.mark(&mut hand).await {
            tracing::warn!(%fault, "confirmed dead letters are not marked");
        }
        let left = hand.waiting.len() + hand.in_flight.len() + hand.confirmed.len();
        if left > 0 {
            tracing::warn!(dead_letters = left, "left unconfirmed; published again later, under the same keys");
        }
        publisher.close().await;
        Ok(())
    }
}

/// Why a redrive is to stop, if it is.
fn fails_too_often(job: &RunningRedrive) -> Option<String> {
    let RunningRedrive { failed_of_last, stop_after_failed_share, .. } = job;
    let most = stop_after_failed_share * f64::from(RunningRedrive::LAST);
    let stop = f64::from(*failed_of_last) > most;
    stop.then(|| {
        format!(
            "{failed_of_last} of the last {} failed again, more than the share of {stop_after_failed_share}: look at \
             why, then resume or cancel",
            RunningRedrive::LAST
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_stops_when_more_than_its_share_of_the_last_ones_failed() {
        let job = |failed_of_last, stop_after_failed_share| RunningRedrive {
            id: Uuid::nil(),
            rate: 1.0,
            concurrency: 1,
            stop_after_failed_share,
            queued: true,
            under_way: 0,
            failed_of_last,
        };
        for (failed, share, stops) in
            [(10, 0.5, false), (11, 0.5, true), (1, 0.0, true), (0, 0.0, false), (20, 1.0, false), (20, 0.99, true)]
        {
            assert_eq!(fails_too_often(&job(failed, share)).is_some(), stops, "{failed} of 20 at {share}");
        }
    }
}
