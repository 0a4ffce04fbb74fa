//! What the relay counts.

use common::telemetry::metrics::{Counter, Metrics, seconds};
use prometheus_client::metrics::histogram::Histogram;

/// What the relay counts, and what catches a destination up.
#[derive(Clone, Debug)]
pub(crate) struct RelayMetrics {
    pub(super) published: Counter,
    pub(super) refused: Counter,
    pub(super) returned: Counter,
    pub(super) caught_up: Counter,
    pub(super) confirm_seconds: Histogram,
    pub(super) accepted_to_published_seconds: Histogram,
}

impl RelayMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let this = Self {
            published: Counter::default(),
            refused: Counter::default(),
            returned: Counter::default(),
            caught_up: Counter::default(),
            confirm_seconds: seconds(),
            accepted_to_published_seconds: seconds(),
        };
        metrics.register(|registry| {
            registry.register("events_published", "Events that the broker confirmed", this.published.clone());
            registry.register(
                "events_refused",
                "Events that the broker refused; published again",
                this.refused.clone(),
            );
            registry.register("events_returned", "Events that found no queue; published again", this.returned.clone());
            registry.register(
                "events_caught_up",
                "Events that a destination got by itself, because it had fallen behind the others",
                this.caught_up.clone(),
            );
            registry.register(
                "confirm_seconds",
                "From publishing an event to its confirm",
                this.confirm_seconds.clone(),
            );
            registry.register(
                "accepted_to_published_seconds",
                "From the acceptance of an order to the confirm of its event",
                this.accepted_to_published_seconds.clone(),
            );
        });
        this
    }
}
