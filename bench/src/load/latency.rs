//! Latencies of the orders of one pattern.

use std::time::Duration;

use serde::Serialize;

/// The latencies of the orders of one pattern.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latencies {
    /// From the intended time of sending to the response.
    pub(crate) post: Option<Quantiles>,
    /// From the response to the moment both APIs have received the call; zero if they had it before.
    pub(crate) accepted_to_delivered: Option<Quantiles>,
    /// From the intended time of sending to that moment.
    pub(crate) sent_to_delivered: Option<Quantiles>,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Quantiles {
    /// `None` if nothing was measured.
    pub(super) fn of(mut durations: Vec<Duration>) -> Option<Self> {
        durations.sort_unstable();
        let last = durations.len().checked_sub(1)?;
        // The nearest rank: the smallest value that this many of a hundred do not exceed.
        let at = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100).saturating_sub(1);
            durations.get(rank.min(last)).map_or(0.0, |duration| duration.as_secs_f64() * 1_000.0)
        };
        Some(Self { p50_ms: at(50), p95_ms: at(95), p99_ms: at(99), max_ms: at(100) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let quantiles = Quantiles::of((1..=200).rev().map(Duration::from_millis).collect()).unwrap();
        let found = [quantiles.p50_ms, quantiles.p95_ms, quantiles.p99_ms, quantiles.max_ms];
        assert_eq!(found, [100.0, 190.0, 198.0, 200.0]);
        assert!(Quantiles::of(Vec::new()).is_none());
    }
}
