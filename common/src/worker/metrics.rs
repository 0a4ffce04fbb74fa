//! The metrics of a worker.

use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

use super::circuit::CircuitState;
use crate::{
    http_client::Failure,
    outcome::{Outcome, Reason},
    telemetry::metrics::{Metrics, seconds},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    destination: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    destination: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    destination: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDestination {
    destination: &'static str,
}

/// The metrics of one worker. Each is looked up once, because finding one by its labels takes a lock.
#[derive(Clone, Debug)]
pub(super) struct WorkerMetrics {
    succeeded: Counter,
    failed_transiently: Counter,
    failed_permanently: Counter,
    attempt_seconds: Histogram,
    delivered: Counter,
    dead_lettered: Counter,
    dead_letters: Vec<(Reason, Counter)>,
    end_to_end_seconds: Histogram,
    pub(super) unknown_events: Counter,
    pub(super) redelivered: Counter,
    pub(super) in_flight: Gauge,
    pub(super) concurrency: Gauge,
    circuit_state: Gauge,
    pub(super) consumer_up: Gauge,
}

impl WorkerMetrics {
    pub(super) fn register(metrics: &Metrics, destination: &'static str) -> Self {
        metrics.register(|registry| {
            let attempts = Family::<ByOutcome, Counter>::default();
            registry.register("attempts", "HTTP calls, by result", attempts.clone());
            let deliveries = Family::<ByStatus, Counter>::default();
            registry.register("deliveries", "Ended deliveries, by status", deliveries.clone());
            let dead_letters = Family::<ByReason, Counter>::default();
            registry.register("dead_letters", "Dead-lettered deliveries, by reason", dead_letters.clone());
            let attempt = Family::<ByDestination, Histogram>::new_with_constructor(seconds);
            registry.register("attempt_duration_seconds", "Duration of an HTTP call", attempt.clone());
            let end_to_end = Family::<ByDestination, Histogram>::new_with_constructor(seconds);
            registry.register(
                "end_to_end_seconds",
                "Time from the acceptance of an order to the end of its delivery",
                end_to_end.clone(),
            );
            let unknown_events = Family::<ByDestination, Counter>::default();
            registry.register(
                "unknown_events",
                "Events of an unknown type, which were acknowledged",
                unknown_events.clone(),
            );
            let redelivered = Family::<ByDestination, Counter>::default();
            registry.register("redelivered", "Deliveries that the broker delivered again", redelivered.clone());
            let in_flight = Family::<ByDestination, Gauge>::default();
            registry.register(
                "deliveries_in_flight",
                "Deliveries in hand: being attempted, or waiting for their next attempt",
                in_flight.clone(),
            );
            let concurrency = Family::<ByDestination, Gauge>::default();
            registry.register("concurrency_limit", "The most calls at a time at present", concurrency.clone());
            let circuit_state = Family::<ByDestination, Gauge>::default();
            registry.register(
                "circuit_state",
                "Whether the destination is called: 0 closed, 1 half-open, 2 open",
                circuit_state.clone(),
            );
            let consumer_up = Family::<ByDestination, Gauge>::default();
            registry.register("consumer_up", "1 while the worker is consuming", consumer_up.clone());

            let outcome = |outcome| attempts.get_or_create_owned(&ByOutcome { destination, outcome });
            let status = |status| deliveries.get_or_create_owned(&ByStatus { destination, status });
            let by_destination = ByDestination { destination };
            Self {
                succeeded: outcome("success"),
                failed_transiently: outcome("transient"),
                failed_permanently: outcome("permanent"),
                attempt_seconds: attempt.get_or_create_owned(&by_destination),
                delivered: status("delivered"),
                dead_lettered: status("dead_lettered"),
                dead_letters: Reason::ALL
                    .map(|reason| {
                        let labels = ByReason { destination, reason: reason.as_str() };
                        (reason, dead_letters.get_or_create_owned(&labels))
                    })
                    .into(),
                end_to_end_seconds: end_to_end.get_or_create_owned(&by_destination),
                unknown_events: unknown_events.get_or_create_owned(&by_destination),
                redelivered: redelivered.get_or_create_owned(&by_destination),
                concurrency: concurrency.get_or_create_owned(&by_destination),
                circuit_state: circuit_state.get_or_create_owned(&by_destination),
                in_flight: in_flight.get_or_create_owned(&by_destination),
                consumer_up: consumer_up.get_or_create_owned(&by_destination),
            }
        })
    }

    /// Counts a call.
    pub(super) fn attempted(&self, result: &Result<(), Failure>, took: Duration) {
        self.attempt_seconds.observe(took.as_secs_f64());
        match result {
            Ok(()) => self.succeeded.inc(),
            Err(Failure::Rejected | Failure::Unauthorized | Failure::InProgress) => self.failed_permanently.inc(),
            Err(_) => self.failed_transiently.inc(),
        };
    }

    /// Shows the state of the circuit.
    pub(super) fn circuit(&self, state: CircuitState) {
        self.circuit_state.set(match state {
            CircuitState::Closed => 0,
            CircuitState::HalfOpen => 1,
            CircuitState::Open => 2,
        });
    }

    /// Counts a delivery that ended.
    pub(super) fn finished(&self, outcome: &Outcome, accepted_at: Timestamp) {
        let micros = outcome.settled_at.as_microsecond() - accepted_at.as_microsecond();
        // The clocks of two machines may differ; a negative duration would distort the sum.
        let micros = u64::try_from(micros).unwrap_or(0);
        self.end_to_end_seconds.observe(Duration::from_micros(micros).as_secs_f64());
        match &outcome.reason {
            None => {
                self.delivered.inc();
            }
            Some(reason) => reason.known().into_iter().for_each(|reason| self.dead_lettered(reason)),
        }
    }

    /// Counts a delivery that was dead-lettered.
    pub(super) fn dead_lettered(&self, reason: Reason) {
        self.dead_lettered.inc();
        if let Some((_, counter)) = self.dead_letters.iter().find(|(known, _)| *known == reason) {
            counter.inc();
        }
    }
}
