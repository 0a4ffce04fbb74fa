//! Metrics of the writer's transactions.

use common::telemetry::metrics::Metrics;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

/// Metrics of the writer's transactions.
#[derive(Clone, Debug)]
pub struct WriterMetrics {
    commits: Counter,
    pub(super) faults: Counter,
    group: Histogram,
    pub(super) seconds: Histogram,
}

impl WriterMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let this = Self {
            commits: Counter::default(),
            faults: Counter::default(),
            group: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]),
            seconds: common::telemetry::metrics::seconds(),
        };
        metrics.register(|registry| {
            registry.register("store_commits", "Transactions committed", this.commits.clone());
            registry.register("store_faults", "Transactions that failed", this.faults.clone());
            registry.register("store_group_orders", "Orders accepted by one transaction", this.group.clone());
            registry.register("store_commit_seconds", "Duration of a transaction", this.seconds.clone());
        });
        this
    }

    /// Counts a transaction with this many orders.
    pub(super) fn committed(&self, orders: usize) {
        self.commits.inc();
        if orders > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a group has at most hundreds of orders")]
            self.group.observe(orders as f64);
        }
    }
}
