//! What the load process is asked and what it answers: a line of JSON each way.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::book::{Latencies, Verdict};

/// What the load process says first: the base URLs of its fake APIs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) apis: Vec<String>,
}

/// What it is asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// So many orders at a time, each client placing its next one when the last one is done.
    Closed { target: Target, orders: u64, in_flight: usize, until: Until },
    /// So many orders a second, whatever becomes of them. Done when both APIs are told of all.
    Open { target: Target, orders: u64, per_second: u32 },
    /// Wait until both APIs are told of every order so far.
    Drain,
    /// Look at every order so far.
    Audit,
}

/// Where orders go.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) producer: SocketAddr,
    /// Whether each order carries an `Idempotency-Key` of its own.
    pub(crate) keys: bool,
}

/// When an order is done, for the client that placed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Until {
    /// The answer is there.
    Accepted,
    /// Both APIs are told.
    Told,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Placed(Placed),
    Drained(Drained),
    Audited(Verdict),
    Failed(String),
}

/// How a run of orders went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) orders: u64,
    /// From the first order to the end of the last.
    pub(crate) seconds: f64,
    /// Answers 503, each tried again.
    pub(crate) refused: u64,
    /// From the intended time of sending to the answer.
    pub(crate) post: Quantiles,
    /// From the answer to the moment both APIs have the request.
    pub(crate) accepted_to_told: Option<Quantiles>,
    /// From the intended time of sending to that moment.
    pub(crate) sent_to_told: Option<Quantiles>,
}

/// How a backlog drained.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Drained {
    pub(crate) orders: u64,
    /// From the request to wait to the last order.
    pub(crate) waited_seconds: f64,
    /// From the first order to the last.
    pub(crate) seconds: f64,
    /// Orders a second in each tenth of the orders, first to last.
    pub(crate) tenths: Vec<f64>,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Placed {
    pub(super) fn new(orders: u64, took: Duration, refused: u64, latencies: &Latencies) -> Self {
        Self {
            orders,
            seconds: took.as_secs_f64(),
            refused,
            post: Quantiles::of(&latencies.post).unwrap_or(Quantiles::NONE),
            accepted_to_told: Quantiles::of(&latencies.told),
            sent_to_told: Quantiles::of(&latencies.whole),
        }
    }
}

impl Quantiles {
    const NONE: Self = Self { p50_ms: 0.0, p95_ms: 0.0, p99_ms: 0.0, max_ms: 0.0 };

    fn of(sorted: &[Duration]) -> Option<Self> {
        let last = sorted.len().checked_sub(1)?;
        // The nearest rank: the smallest value that so many of a thousand do not exceed.
        let at = |per_mille: usize| {
            let rank = (sorted.len() * per_mille).div_ceil(1_000).saturating_sub(1);
            sorted.get(rank.min(last)).map_or(0.0, |duration| duration.as_secs_f64() * 1_000.0)
        };
        Some(Self { p50_ms: at(500), p95_ms: at(950), p99_ms: at(990), max_ms: at(1_000) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        let quantiles = Quantiles::of(&sorted).unwrap();
        let found = [quantiles.p50_ms, quantiles.p95_ms, quantiles.p99_ms, quantiles.max_ms];
        assert_eq!(found, [100.0, 190.0, 198.0, 200.0]);
        assert!(Quantiles::of(&[]).is_none());
    }
}
