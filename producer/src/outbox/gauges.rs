//! What is measured about the outbox when metrics are scraped.

use std::sync::atomic::AtomicU64;

use common::{
    destination::Name,
    event::now,
    telemetry::metrics::{Family, Gauge, Metrics},
};
use prometheus_client::encoding::EncodeLabelSet;
use store::Desk;

use super::Outbox;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDestination {
    destination: Name,
}

/// The size of the outbox, the age of its oldest event, and what destinations lack that have fallen behind.
#[derive(Clone, Debug)]
pub(crate) struct OutboxGauges {
    events: Gauge,
    behind: Family<ByDestination, Gauge>,
    oldest_age: Gauge<f64, AtomicU64>,
}

impl OutboxGauges {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let this = Self { events: Gauge::default(), behind: Family::default(), oldest_age: Gauge::default() };
        metrics.register(|registry| {
            registry.register(
                "outbox_backlog",
                "Accepted orders that the broker has not confirmed",
                this.events.clone(),
            );
            registry.register(
                "outbox_behind",
                "Accepted orders that wait for the queue of one destination, which has fallen behind the others",
                this.behind.clone(),
            );
            registry.register(
                "outbox_oldest_age_seconds",
                "Age of the oldest accepted order that the broker has not confirmed",
                this.oldest_age.clone(),
            );
        });
        this
    }

    pub(crate) async fn measure(&self, desk: &Desk, outbox: &Outbox) {
        for (destination, events) in outbox.lags() {
            self.behind.get_or_create(&ByDestination { destination }).set(i64::try_from(events).unwrap_or(i64::MAX));
        }
        self.events.set(i64::try_from(outbox.backlog()).unwrap_or(i64::MAX));
        if outbox.backlog() == 0 {
            self.oldest_age.set(0.0);
        } else if let Ok(backlog) = desk.backlog().await {
            let age = backlog.oldest_at.map_or(0, |at| now().as_microsecond() - at.as_microsecond());
            #[expect(clippy::cast_precision_loss, reason = "an age in microseconds is far below 2^52")]
            self.oldest_age.set(age.max(0) as f64 / 1e6);
        }
    }
}
