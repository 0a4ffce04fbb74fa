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

/// The age of the oldest pending delivery of each destination, and how many wait in the store.
#[derive(Clone, Debug)]
pub(crate) struct PendingGauges {
    destinations: Arc<[Behind]>,
    asked_at: Arc<Mutex<Option<Instant>>>,
}

/// How far one destination is behind.
#[derive(Debug)]
struct Behind {
    name: Name,
    oldest: Gauge<f64, AtomicU64>,
    waiting: Gauge,
}

impl PendingGauges {
    /// Registers them, at zero for each of these destinations.
    pub(crate) fn register(metrics: &Metrics, destinations: &[Name]) -> Self {
        let oldest = Family::<ByDestination, Gauge<f64, AtomicU64>>::default();
        let waiting = Family::<ByDestination, Gauge>::default();
        metrics.register(|registry| {
            registry.register(
                "oldest_pending_seconds",
                "Age of the oldest order that is not delivered to a destination, redrives left out",
                oldest.clone(),
            );
            registry.register(
                "deliveries_waiting",
                "Deliveries that wait in the store for their next attempt, by destination",
                waiting.clone(),
            );
        });
        let behind = |name: &Name| {
            let labels = ByDestination { destination: name.to_string() };
            let (oldest, waiting) = (oldest.get_or_create_owned(&labels), waiting.get_or_create_owned(&labels));
            Behind { name: name.clone(), oldest, waiting }
        };
        let destinations = destinations.iter().map(behind).collect();
        Self { destinations, asked_at: Arc::default() }
    }

    /// Measures, unless that was done a moment ago.
    pub(crate) async fn measure(&self, desk: &Desk) {
        if !self.is_due() {
            return;
        }
        for Behind { name, oldest, waiting } in self.destinations.iter() {
            // What is not known stays as it was.
            if let Ok(accepted_at) = desk.oldest_pending(name.clone()).await {
                let age = accepted_at.map_or(0, |at| now().as_microsecond() - at.as_microsecond());
                #[expect(clippy::cast_precision_loss, reason = "an age in microseconds is far below 2^52")]
                oldest.set(age.max(0) as f64 / 1e6);
            }
            if let Ok(count) = desk.waiting(name.clone()).await {
                waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
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
