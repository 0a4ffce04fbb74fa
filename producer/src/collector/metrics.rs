//! What the collector counts.

use common::{
    origin::Origin,
    outcome::Reason,
    telemetry::metrics::{Counter, Family, Gauge, Metrics},
    word::Word,
};
use prometheus_client::encoding::EncodeLabelSet;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    destination: Origin,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDestination {
    destination: Origin,
}

/// The counters of all dead-letter queues.
#[derive(Clone, Debug)]
pub(crate) struct CollectorMetrics {
    collected: Family<ByReason, Counter>,
    up: Family<ByDestination, Gauge>,
    /// Transactions that failed.
    pub(super) faults: Counter,
}

impl CollectorMetrics {
    /// Registers them, at zero for each of these origins.
    #[must_use]
    pub(crate) fn register(metrics: &Metrics, origins: &[Origin]) -> Self {
        let this = Self { collected: Family::default(), up: Family::default(), faults: Counter::default() };
        metrics.register(|registry| {
            registry.register(
                "dead_letters_collected",
                "Dead letters taken from their queue into the store, by destination and reason",
                this.collected.clone(),
            );
            registry.register(
                "collector_up",
                "1 while the dead letters of a destination are collected",
                this.up.clone(),
            );
            registry.register("collector_faults", "Transactions with dead letters that failed", this.faults.clone());
        });
        for origin in origins {
            this.up(origin, false);
            for reason in Reason::ALL {
                let labels = ByReason { destination: origin.clone(), reason: reason.as_str() };
                let _ = this.collected.get_or_create(&labels);
            }
        }
        this
    }

    pub(super) fn collected(&self, origin: &Origin, reason: &Word<Reason>) {
        let reason = reason.known().map_or("other", Reason::as_str);
        let labels = ByReason { destination: origin.clone(), reason };
        self.collected.get_or_create(&labels).inc();
    }

    pub(super) fn up(&self, origin: &Origin, up: bool) {
        self.up.get_or_create(&ByDestination { destination: origin.clone() }).set(i64::from(up));
    }
}
