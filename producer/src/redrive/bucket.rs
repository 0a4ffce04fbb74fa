//! The rate of a redrive: a bucket of tokens, one for each dead letter, that fills by the monotonic clock.

use std::time::Duration;

use tokio::time::Instant;

/// How much time fills the bucket: what a pause leaves unused beyond it is lost, so that no burst
/// follows.
const HOLDS: f64 = 0.25;

/// Tokens of one redrive.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// Begins with one.
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: 1.0, filled_at: now }
    }

    /// Fills the bucket, and returns how many may be sent now.
    pub(super) fn fill(&mut self, rate: f64, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + passed * rate).min((rate * HOLDS).max(1.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a few thousand")]
        let whole = self.tokens as u32;
        whole
    }

    /// Takes as many as were sent.
    pub(super) fn take(&mut self, count: usize) {
        #[expect(clippy::cast_precision_loss, reason = "at most a few hundred")]
        let count = count as f64;
        self.tokens -= count;
    }

    /// When the next one is there.
    pub(super) fn next(&self, rate: f64) -> Instant {
        self.filled_at + Duration::from_secs_f64(((1.0 - self.tokens) / rate).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_it_gives_the_rate_and_after_a_pause_no_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let mut sent = 0;
        for tick in 1..=100_u64 {
            let count = bucket.fill(50.0, start + Duration::from_millis(100 * tick));
            bucket.take(count as usize);
            sent += count;
        }
        assert!((500..=501).contains(&sent), "{sent}");
        let later = start + Duration::from_secs(3_600);
        assert_eq!(bucket.fill(50.0, later), 12);
        bucket.take(12);
        assert!(bucket.next(50.0) > later && bucket.next(50.0) < later + Duration::from_millis(20));
    }

    #[test]
    fn a_slow_rate_gives_one_at_a_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        assert_eq!(bucket.fill(1.0, start), 1);
        bucket.take(1);
        assert_eq!(bucket.fill(1.0, start + Duration::from_millis(900)), 0);
        assert_eq!(bucket.fill(1.0, start + Duration::from_secs(90)), 1);
    }
}
