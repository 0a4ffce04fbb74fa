//! Rows that cannot be read, because a newer version wrote them or something has damaged them: each is left out, and
//! costs its neighbours nothing.

use common::telemetry::metrics::{Counter, Metrics};

use crate::fault::Fault;

/// Counts them. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unreadable(Counter);

impl Unreadable {
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register("store_unreadable", "Rows that cannot be read, left out of an answer", self.0.clone());
        });
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.0.get()
    }

    /// What was read of a row, or `None` if it cannot be read. A fault of the database shows between rows, and not
    /// within one.
    pub(crate) fn left_out<T>(&self, read: Result<T, Fault>) -> Option<T> {
        read.inspect_err(|fault| {
            self.0.inc();
            tracing::warn!(%fault, "a row of the store is left out");
        })
        .ok()
    }
}
