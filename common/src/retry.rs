//! When to retry: the only file that knows the `backoff` crate.
//!
//! The crate only generates exponential delays with jitter. What a failed attempt means for its delivery is
//! not decided here.

use std::{num::NonZeroU32, time::Duration};

use backoff::backoff::Backoff as _;

/// Each delay is twice the one before.
const MULTIPLIER: f64 = 2.0;
/// A delay varies by half in both directions, so that orders that failed together are not retried
/// together.
const JITTER: f64 = 0.5;

/// How often, for how long and how far apart a delivery is attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts for one delivery.
    pub max_attempts: NonZeroU32,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// The delay after the first failed attempt, before jitter.
    pub initial: Duration,
    /// The longest delay, unless the server asks for a longer one.
    pub max: Duration,
    /// How long after its acceptance an order is retried.
    pub retry_for: Duration,
}

impl RetryPolicy {
    /// The delays of one delivery that has failed `failures` times.
    #[must_use]
    pub fn delays(&self, failures: u32) -> Delays {
        let mut delays = Delays::endless(self.initial, self.max);
        // Far beyond the longest delay already.
        for _ in 0..failures.min(64) {
            delays.next_delay();
        }
        delays
    }
}

/// Delays without end: between the attempts of a delivery, or of a session that reconnects.
#[derive(Debug)]
pub struct Delays {
    max: Duration,
    generator: backoff::ExponentialBackoff,
}

impl Delays {
    /// Delays that double from `initial` to `max`.
    #[must_use]
    pub fn endless(initial: Duration, max: Duration) -> Self {
        let mut generator = Self::generator(initial, max);
        generator.reset();
        Self { max, generator }
    }

    fn generator(initial: Duration, max: Duration) -> backoff::ExponentialBackoff {
        // With the jitter added, the longest interval is the longest delay. If delays were cut off there,
        // those that failed together would be retried together.
        let longest = max.div_f64(1.0 + JITTER);
        backoff::ExponentialBackoff {
            current_interval: initial.min(longest),
            initial_interval: initial.min(longest),
            randomization_factor: JITTER,
            multiplier: MULTIPLIER,
            max_interval: longest,
            max_elapsed_time: None,
            ..backoff::ExponentialBackoff::default()
        }
    }

    /// How long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.generator.next_backoff().unwrap_or(self.max).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: NonZeroU32::MIN,
            attempt_timeout: Duration::from_secs(5),
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            retry_for: Duration::from_secs(86_400),
        }
    }

    #[test]
    fn delays_double_within_their_jitter_and_stop_at_the_longest() {
        let mut delays = policy().delays(0);
        for step in 0..19 {
            let middle = (0.5 * f64::powi(2.0, step)).min(20.0);
            let seconds = delays.next_delay().as_secs_f64();
            assert!(seconds >= middle * 0.499 && seconds <= middle * 1.501, "{step}: {seconds}");
        }
    }

    #[test]
    fn a_delivery_that_has_failed_before_goes_on_with_longer_delays() {
        let seconds = policy().delays(3).next_delay().as_secs_f64();
        assert!((2.0..=6.0).contains(&seconds), "{seconds}");
    }
}
