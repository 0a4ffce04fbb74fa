//! What redrives count.

use common::{
    outcome::{Outcome, OutcomeStatus},
    telemetry::metrics::Metrics,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

/// What redrives count.
#[derive(Clone, Debug)]
pub(crate) struct RedriveMetrics {
    pub(super) sent: Counter,
    pub(super) running: Gauge,
    delivered: Counter,
    dead_lettered: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: &'static str,
}

impl RedriveMetrics {
    /// Registers them.
    #[must_use]
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let ended = Family::<ByStatus, Counter>::default();
        let (sent, running) = (Counter::default(), Gauge::default());
        metrics.register(|registry| {
            registry.register("redrive_sent", "Dead letters sent again that the broker confirmed", sent.clone());
            registry.register("redrive_ended", "Deliveries that were sent again and ended, by status", ended.clone());
        });
        metrics.register(|registry| {
            registry.register("redrives_running", "Redrives that are running", running.clone());
        });
        let status = |status: OutcomeStatus| ended.get_or_create_owned(&ByStatus { status: status.as_str() });
        Self {
            sent,
            running,
            delivered: status(OutcomeStatus::Delivered),
            dead_lettered: status(OutcomeStatus::DeadLettered),
        }
    }

    /// Counts those of the outcomes that are a redrive's.
    pub(crate) fn ended(&self, outcomes: &[Outcome]) {
        for outcome in outcomes.iter().filter(|outcome| outcome.dead_letter.is_some()) {
            match outcome.status {
                OutcomeStatus::Delivered => self.delivered.inc(),
                OutcomeStatus::DeadLettered => self.dead_lettered.inc(),
            };
        }
    }
}
