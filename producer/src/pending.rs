//! How far each destination is behind, measured when metrics are scraped.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use common::{
    destination::Name,
    event::now,
    telemetry::metrics::{Family, Gauge, Metrics},
};
use prometheus_client::encoding::EncodeLabelSet;
use store::Desk;
use tokio::time::Instant;

/// The store is asked no more often, however often metrics are scraped: with many orders pending it has to look for
/// the oldest of a destination that is not behind.
const ASK_AGAIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDestination {
    destination: String,
}

/// The age of the oldest pending delivery of each destination.
#[derive(Clone, Debug)]
pub(crate) struct PendingGauges {
    destinations: Arc<[(Name, Gauge<f64, AtomicU64>)]>,
    asked_at: Arc<Mutex<Option<Instant>>>,
}

impl PendingGauges {
    /// Registers them, at zero for each of these destinations.
    pub(crate) fn register(metrics: &Metrics, destinations: &[Name]) -> Self {
        let family = Family::<ByDestination, Gauge<f64, AtomicU64>>::default();
        metrics.register(|registry| {
            registry.register(
                "oldest_pending_seconds",
                "Age of the oldest order that is not delivered to a destination, redrives left out",
                family.clone(),
            );
        });
        let gauge = |name: &Name| family.get_or_create_owned(&ByDestination { destination: name.to_string() });
        let destinations = destinations.iter().map(|name| (name.clone(), gauge(name))).collect();
        Self { destinations, asked_at: Arc::default() }
    }

    /// Measures, unless that was done a moment ago.
    pub(crate) async fn measure(&self, desk: &Desk) {
        if !self.is_due() {
            return;
        }
        for (name, gauge) in self.destinations.iter() {
            // What is not known stays as it was.
            if let Ok(oldest) = desk.oldest_pending(name.clone()).await {
                let age = oldest.map_or(0, |at| now().as_microsecond() - at.as_microsecond());
                #[expect(clippy::cast_precision_loss, reason = "an age in microseconds is far below 2^52")]
                gauge.set(age.max(0) as f64 / 1e6);
            }
        }
    }

    fn is_due(&self) -> bool {
        let mut asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = asked_at.is_none_or(|at| at.elapsed() >= ASK_AGAIN);
        if is_due {
            *asked_at = Some(Instant::now());
        }
        is_due
    }
}
