//! Upkeep: removes what is old and done from the store, in small batches with pauses between them, so that
//! it never slows down orders.

use std::time::{Duration, Instant as StdInstant};

use common::{
    event::now,
    health::Component,
    order::OrderId,
    telemetry::metrics::{Counter, Metrics},
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::Context;
use store::{Desk, StoreFault};

/// At most this many rows per transaction.
const BATCH: u32 = 200;
/// The pause between two transactions.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two sweeps; shorter lifetimes are swept more often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// The shortest pause between two sweeps.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// How often an idle sweeper shows a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Removes expired keys and old orders.
pub(crate) struct Sweeper {
    desk: Desk,
    /// How long an idempotency key is kept.
    key_ttl: Duration,
    /// How long a delivered order is kept; `None` keeps it indefinitely.
    retention: Option<Duration>,
    metrics: UpkeepMetrics,
}

/// The counters of upkeep.
#[derive(Clone, Debug, Default)]
struct UpkeepMetrics {
    keys: Counter,
    orders: Counter,
    faults: Counter,
}

impl UpkeepMetrics {
    fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            registry.register("swept_keys", "Expired idempotency keys that were removed", this.keys.clone());
            registry.register("swept_orders", "Old delivered orders that were removed", this.orders.clone());
            registry.register("sweep_faults", "Sweeps that failed; each is repeated later", this.faults.clone());
        });
        this
    }
}

impl Sweeper {
    /// A sweeper of keys older than `key_ttl`, and of delivered orders older than `retention` if any.
    #[must_use]
    pub(crate) fn new(context: &Context, key_ttl: Duration, retention: Option<Duration>) -> Self {
        Self { desk: context.desk.clone(), key_ttl, retention, metrics: UpkeepMetrics::register(&context.metrics) }
    }

    /// Sweeps at intervals until `shutdown`. A sweep that failed is repeated at the next one.
    pub(crate) async fn run(self, health: Component, shutdown: CancellationToken) {
        let shortest = self.retention.map_or(self.key_ttl, |retention| retention.min(self.key_ttl));
        let interval = (shortest / 10).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        health.up();
        // The pause comes first: a process that has just started has more urgent work.
        while rest(jittered(interval), &health, &shutdown).await {
            match self.sweep(&health, &shutdown).await {
                Ok(()) => health.up(),
                Err(fault) => {
                    self.metrics.faults.inc();
                    tracing::warn!(%fault, "a sweep failed and will be repeated");
                    health.down(format!("the last sweep failed: {fault}"));
                }
            }
        }
    }

    /// One sweep over everything.
    async fn sweep(&self, health: &Component, shutdown: &CancellationToken) -> Result<(), StoreFault> {
        let began = StdInstant::now();
        let (mut keys, mut orders) = (0_u64, 0_u64);
        let used_up_to = before_now(self.key_ttl);
        loop {
            let removed = self.desk.sweep_keys(used_up_to, BATCH).await?;
            self.metrics.keys.inc_by(removed.into());
            keys += u64::from(removed);
            if removed < BATCH || !rest(PAUSE, health, shutdown).await {
                break;
            }
        }
        if let Some(retention) = self.retention {
            let accepted_before = before_now(retention);
            let mut after: Option<OrderId> = None;
            loop {
                let swept = self.desk.sweep_orders(accepted_before, after, BATCH).await?;
                self.metrics.orders.inc_by(swept.removed.into());
                orders += u64::from(swept.removed);
                after = swept.next;
                if after.is_none() || !rest(PAUSE, health, shutdown).await {
                    break;
                }
            }
        }
        if keys + orders > 0 {
            let seconds = began.elapsed().as_secs();
            tracing::info!(keys, orders, seconds, "removed what is old and done");
        }
        Ok(())
    }
}

/// Pauses, showing signs of life. False at shutdown.
async fn rest(pause: Duration, health: &Component, shutdown: &CancellationToken) -> bool {
    let until = Instant::now() + pause;
    loop {
        health.sign_of_life();
        let left = until.saturating_duration_since(Instant::now());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return false,
            () = sleep(left.min(SIGN_OF_LIFE)) => {}
        }
        if Instant::now() >= until {
            return true;
        }
    }
}

/// Between half the interval and all of it, so that several producers do not sweep at the same time.
fn jittered(interval: Duration) -> Duration {
    let random = u32::from_be_bytes(Uuid::new_v4().as_bytes()[..4].try_into().unwrap_or_default());
    interval.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

fn before_now(age: Duration) -> Timestamp {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    now().checked_sub(age).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_sweep_at_different_times() {
        let interval = Duration::from_secs(60);
        let some: Vec<_> = (0..16).map(|_| jittered(interval)).collect();
        assert!(some.iter().all(|pause| (Duration::from_secs(30)..=interval).contains(pause)), "{some:?}");
        assert!(some.iter().any(|pause| *pause != some[0]));
    }
}
