//! The registry behind `/metrics`, and metric types that several processes use.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{encoding::text::encode, metrics::histogram::Histogram, registry::Registry};

pub use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

/// The metrics of one process. Clones share them. Nothing is global: every part registers its metrics
/// with the registry that it is given.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("tandem"))))
    }
}

impl Metrics {
    /// Registers the metrics of a part.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The text of `/metrics`, in the OpenMetrics format that Prometheus reads.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.0.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }
}

/// A histogram of seconds from half a millisecond to a minute.
#[must_use]
pub fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}
