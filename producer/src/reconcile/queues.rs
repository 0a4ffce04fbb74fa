//! What was seen of the queues over time.

use std::{collections::VecDeque, time::Duration};

use common::broker::depth::Depth;
use jiff::Timestamp;
use tokio::time::Instant;

use store::Mark;

/// Most looks that are remembered.
const SAMPLES: usize = 10_000;
/// At least this many are remembered, however old: looks may be rarer than the bound.
const FEWEST: usize = 16;

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) wall: Timestamp,
    /// How far the outbox was published before the look.
    pub(super) marks: Vec<Mark>,
    /// Each destination's queue.
    pub(super) depths: Vec<Depth>,
}

/// The looks that still matter.
#[derive(Debug)]
pub(super) struct Queues {
    after: Duration,
    samples: VecDeque<Sample>,
}

impl Queues {
    /// Over deliveries that no worker holds for longer than `after`.
    pub(super) fn new(after: Duration) -> Self {
        Self { after, samples: VecDeque::new() }
    }

    /// Notes a look.
    pub(super) fn seen(&mut self, sample: Sample) {
        // A queue that is busy is not seen empty at each look: older ones serve as well.
        let oldest = self.after.saturating_mul(4);
        let old = |front: &Sample| sample.at.duration_since(front.at) > oldest;
        while self.samples.len() >= SAMPLES || (self.samples.len() >= FEWEST && self.samples.front().is_some_and(old)) {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The latest look, long enough ago, at which this destination's queue was empty: whatever was
    /// published before it has left the queue, and its outcome should be known.
    pub(super) fn empty(&self, index: usize) -> Option<&Sample> {
        let newest = self.samples.back()?;
        let of = |sample: &Sample| sample.depths.get(index).copied().unwrap_or_default();
        let mut since = self.samples.iter().rev().take_while(|sample| {
            let depth = of(sample);
            // Nobody takes what waits there: a worker that has ended may have given it back.
            depth.ready == 0 || depth.consumers > 0
        });
        since.find(|sample| newest.at.duration_since(sample.at) >= self.after && of(sample).ready == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(start: Instant, second: u64, ready: u32, consumers: u32) -> Sample {
        let marks = vec![Mark { owner: uuid::Uuid::nil(), up_to: second }];
        let at = start + Duration::from_secs(second);
        Sample { at, wall: Timestamp::UNIX_EPOCH, marks, depths: vec![Depth { ready, consumers }] }
    }

    fn empty(looks: &[(u64, u32, u32)]) -> Option<u64> {
        let start = Instant::now();
        let mut queues = Queues::new(Duration::from_secs(10));
        for &(second, ready, consumers) in looks {
            queues.seen(look(start, second, ready, consumers));
        }
        queues.empty(0).and_then(|sample| sample.marks.first()).map(|mark| mark.up_to)
    }

    #[test]
    fn what_was_published_before_an_empty_queue_is_judged_after_the_bound() {
        assert_eq!(empty(&[(0, 0, 1), (5, 0, 1)]), None);
        assert_eq!(empty(&[(0, 0, 1), (5, 0, 1), (10, 0, 1)]), Some(0));
        assert_eq!(empty(&[(0, 0, 1), (5, 0, 1), (16, 0, 1)]), Some(5));
    }

    #[test]
    fn looks_that_are_much_rarer_than_the_bound_are_compared_all_the_same() {
        assert_eq!(empty(&[(0, 0, 1), (60, 0, 1)]), Some(0));
        assert_eq!(empty(&[(0, 0, 1), (60, 0, 1), (120, 0, 1), (180, 0, 1)]), Some(120));
        assert_eq!(empty(&[(0, 0, 1), (60, 7, 1), (120, 7, 1)]), Some(0));
    }

    #[test]
    fn a_backlog_is_no_loss_and_a_busy_queue_hides_none() {
        assert_eq!(empty(&[(0, 7, 1), (5, 7, 1), (16, 7, 1)]), None);
        assert_eq!(empty(&[(0, 0, 1), (5, 7, 1), (16, 7, 1)]), Some(0));
    }

    #[test]
    fn a_queue_without_consumers_begins_anew_unless_it_is_empty() {
        assert_eq!(empty(&[(0, 0, 1), (5, 7, 0), (16, 0, 1)]), None);
        assert_eq!(empty(&[(0, 0, 1), (5, 7, 0), (16, 0, 1), (26, 0, 1)]), Some(16));
        assert_eq!(empty(&[(0, 0, 0), (5, 0, 0), (16, 0, 0)]), Some(5));
    }
}
