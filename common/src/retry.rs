//! When to retry: the only file that knows the `backoff` crate.
//!
//! The crate only generates exponential delays with jitter; the limit on attempts, the cap on a server's
//! `Retry-After` and the bound on the total are defined here.

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
    /// The longest delay, even if the server asks for a longer one.
    pub max: Duration,
}

impl RetryPolicy {
    /// The longest that one delivery can take: every attempt times out, and every delay is the longest.
    #[must_use]
    pub fn worst_case(&self) -> Duration {
        let attempts = self.max_attempts.get();
        self.attempt_timeout.saturating_mul(attempts).saturating_add(self.max.saturating_mul(attempts - 1))
    }

    /// The delays of one delivery.
    #[must_use]
    pub fn delays(&self) -> Delays {
        let mut generator = Delays::generator(self.initial, self.max);
        generator.reset();
        Delays { left: self.max_attempts.get() - 1, max: self.max, generator }
    }
}

/// The delays of one delivery, or of a session that reconnects.
#[derive(Debug)]
pub struct Delays {
    left: u32,
    max: Duration,
    generator: backoff::ExponentialBackoff,
}

impl Delays {
    /// Delays without end, for reconnecting.
    #[must_use]
    pub fn endless(initial: Duration, max: Duration) -> Self {
        let mut generator = Self::generator(initial, max);
        generator.reset();
        Self { left: u32::MAX, max, generator }
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

    /// How long to wait before the next attempt; `None` if no attempt is left.
    ///
    /// A server's `Retry-After` can lengthen the delay up to the longest of the policy, but not shorten it.
    pub fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        if self.left == 0 {
            return None;
        }
        if self.left != u32::MAX {
            self.left -= 1;
        }
        let own = self.generator.next_backoff().unwrap_or(self.max);
        // The delay with its jitter comes on top of the server's request, so that those that were turned
        // away together are not retried together.
        Some(own.saturating_add(retry_after.unwrap_or_default()).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(max_attempts: u32) -> RetryPolicy {
        RetryPolicy {
            max_attempts: NonZeroU32::new(max_attempts).unwrap_or(NonZeroU32::MIN),
            attempt_timeout: Duration::from_secs(5),
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
        }
    }

    #[test]
    fn there_is_one_delay_fewer_than_attempts() {
        for attempts in [1, 3, 5] {
            let mut delays = policy(attempts).delays();
            let count = std::iter::from_fn(|| delays.next(None)).count();
            assert_eq!(count, attempts as usize - 1);
        }
    }

    #[test]
    fn delays_double_within_their_jitter_and_stop_at_the_longest() {
        let mut delays = policy(20).delays();
        for step in 0..19 {
            let middle = 0.5 * f64::powi(2.0, step);
            let Some(delay) = delays.next(None) else { panic!("ended at {step}") };
            let seconds = delay.as_secs_f64();
            let middle = middle.min(20.0);
            assert!(seconds >= middle * 0.499 && seconds <= middle * 1.501, "{step}: {seconds}");
        }
    }

    #[test]
    fn a_server_can_lengthen_a_delay_up_to_the_limit_but_not_shorten_it() {
        let mut delays = policy(9).delays();
        let requested = Duration::from_secs(7);
        let Some(delay) = delays.next(Some(requested)) else { panic!("none left") };
        assert!(delay > requested && delay < requested + Duration::from_secs(1), "{delay:?}");
        assert_eq!(delays.next(Some(Duration::from_secs(315_360_000))), Some(Duration::from_secs(30)));
        assert!(delays.next(Some(Duration::ZERO)) >= Some(Duration::from_millis(499)));
    }

    #[test]
    fn the_worst_case_counts_every_timeout_and_every_delay() {
        assert_eq!(policy(3).worst_case(), Duration::from_secs(3 * 5 + 2 * 30));
    }
}
