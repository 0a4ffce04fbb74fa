//! Whether the relay publishes to all queues at once, or to each by itself.

use std::time::Duration;

use tokio::time::Instant;

/// How long the relay publishes to each queue by itself after the first trouble with one.
const FIRST: Duration = Duration::from_secs(10);
/// The longest that it does, if the trouble comes again and again.
const LONGEST: Duration = Duration::from_secs(300);
/// After this many times as long without trouble, the next is the first.
const FORGOTTEN_AFTER: u32 = 10;

/// To all queues at once, an event that one of them refuses goes to the others in vain: they get it once more. So
/// this waits until it is calm, and for longer each time.
#[derive(Debug)]
pub(super) struct Calm {
    /// Until when the relay publishes to each queue by itself, at least.
    apart_until: Option<Instant>,
    length: Duration,
    together_since: Option<Instant>,
}

impl Default for Calm {
    fn default() -> Self {
        Self { apart_until: None, length: FIRST, together_since: None }
    }
}

impl Calm {
    /// Whether the relay publishes to all queues at once.
    pub(super) fn is_together(&self) -> bool {
        self.apart_until.is_none()
    }

    /// A queue refuses events, or confirms none.
    pub(super) fn disturbed(&mut self, now: Instant) {
        if self.apart_until.is_none() {
            let soon = self.together_since.is_some_and(|since| now - since < self.length * FORGOTTEN_AFTER);
            self.length = if soon { (self.length * 2).min(LONGEST) } else { FIRST };
        }
        self.apart_until = Some(now + self.length);
    }

    /// All lanes are level: if it has been calm for long enough, the relay publishes to all queues at once again.
    /// Returns whether it begins to.
    pub(super) fn all_level(&mut self, now: Instant) -> bool {
        let over = self.apart_until.is_some_and(|until| until <= now);
        if over {
            self.apart_until = None;
            self.together_since = Some(now);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_that_comes_again_keeps_the_queues_apart_for_longer() {
        let (mut calm, mut now) = (Calm::default(), Instant::now());
        for length in [10, 20, 40, 80, 160, 300, 300] {
            assert!(calm.is_together());
            calm.disturbed(now);
            now += Duration::from_secs(length);
            assert!(!calm.all_level(now - Duration::from_millis(1)) && !calm.is_together(), "{length}");
            assert!(calm.all_level(now), "{length}");
        }
        now += LONGEST * FORGOTTEN_AFTER;
        calm.disturbed(now);
        // Trouble in the meantime puts the end off.
        calm.disturbed(now + FIRST / 2);
        assert!(!calm.all_level(now + FIRST) && calm.all_level(now + FIRST / 2 + FIRST));
    }
}
