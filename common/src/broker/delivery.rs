//! A delivery, and the window of those that are not settled yet.

use std::collections::VecDeque;

use jiff::Timestamp;
use uuid::Uuid;

use crate::trace_context::TraceParent;

/// A message as it came from a queue.
#[derive(Debug)]
pub struct Delivery {
    /// The duty to settle it.
    pub unsettled: Unsettled,
    /// The body, unchanged.
    pub body: Vec<u8>,
    /// Whether the broker has delivered this message before.
    pub redelivered: bool,
    /// The message id, if it is a UUID.
    pub message_id: Option<Uuid>,
    /// The trace context of the publisher.
    pub trace: Option<TraceParent>,
    /// The dead letter that this message redrives, from [`super::dead_letter::REDRIVEN`].
    pub dead_letter: Option<Uuid>,
    /// What was known of the delivery when it was handed over, if it has waited in the store.
    pub resumed: Option<Resumed>,
    /// Whether its publisher takes deliveries that wait: an earlier version does not.
    pub takes_waits: bool,
}

/// What is known of a delivery that has waited in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// How many of its attempts count.
    pub spent: u32,
    /// Whether an attempt had no answer, so that the API may still be working on it.
    pub unanswered: bool,
    /// When it expires.
    pub retry_until: Timestamp,
}

impl Resumed {
    /// Of a delivery that is new.
    #[must_use]
    pub fn nothing(retry_until: Timestamp) -> Self {
        Self { spent: 0, unanswered: false, retry_until }
    }
}

/// The duty to settle one delivery. Settling consumes it, so that no delivery is settled twice. If it is
/// dropped, the broker delivers the message again when the channel ends.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a delivery that is not settled is delivered again"]
pub struct Unsettled {
    pub(super) tag: u64,
}

#[cfg(test)]
impl Unsettled {
    pub(crate) fn for_test(tag: u64) -> Self {
        Self { tag }
    }
}

/// How a delivery leaves its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is done.
    Ack,
    /// It goes to the dead-letter queue and is not delivered again.
    DeadLetter,
}

/// The delivery tags of one channel, from the oldest unsettled one, so that a run of finished deliveries
/// can be acknowledged in one frame.
#[derive(Debug)]
pub(super) struct Window {
    first: u64,
    states: VecDeque<State>,
    /// How many wait for their acknowledgement behind one that is still running.
    ready: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Ready,
    Settled,
}

impl Default for Window {
    fn default() -> Self {
        // Tags of a channel count from 1.
        Self { first: 1, states: VecDeque::new(), ready: 0 }
    }
}

impl Window {
    pub(super) fn delivered(&mut self, tag: u64) {
        let next = self.first + self.states.len() as u64;
        debug_assert_eq!(tag, next, "tags of a channel are consecutive");
        self.states.push_back(State::Running);
    }

    /// Notes that this delivery may be acknowledged.
    pub(super) fn ready(&mut self, tag: u64) {
        if let Some(state @ State::Running) = self.state(tag) {
            *state = State::Ready;
            self.ready += 1;
        }
    }

    /// Notes that this delivery was settled individually.
    pub(super) fn settled(&mut self, tag: u64) {
        if let Some(state @ State::Running) = self.state(tag) {
            *state = State::Settled;
        }
    }

    /// How many deliveries there are from the oldest unsettled one on.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// How many deliveries wait for their acknowledgement.
    pub(super) fn waiting(&self) -> usize {
        self.ready
    }

    /// The tag up to which everything is finished, to be acknowledged with `multiple`. It has not been
    /// acknowledged yet: naming one that has been closes the channel.
    pub(super) fn take_prefix(&mut self) -> Option<u64> {
        let mut last = None;
        while let Some(state) = self.states.front().copied().filter(|state| *state != State::Running) {
            if state == State::Ready {
                last = Some(self.first);
                self.ready -= 1;
            }
            self.states.pop_front();
            self.first += 1;
        }
        last
    }

    /// The finished tags behind one that is still running, to be acknowledged individually.
    pub(super) fn take_stragglers(&mut self) -> Vec<u64> {
        let mut tags = Vec::with_capacity(self.ready);
        if self.ready > 0 {
            for (offset, state) in (0_u64..).zip(self.states.iter_mut()) {
                if *state == State::Ready {
                    *state = State::Settled;
                    tags.push(self.first + offset);
                }
            }
            self.ready = 0;
        }
        tags
    }

    fn state(&mut self, tag: u64) -> Option<&mut State> {
        let index = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        self.states.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(count: u64) -> Window {
        let mut window = Window::default();
        (1..=count).for_each(|tag| window.delivered(tag));
        window
    }

    #[test]
    fn a_finished_run_is_acknowledged_by_its_last_tag() {
        let mut window = window(5);
        window.ready(2);
        assert_eq!(window.take_prefix(), None);
        window.ready(1);
        window.ready(3);
        assert_eq!(window.take_prefix(), Some(3));
        assert_eq!(window.take_prefix(), None);
        window.ready(4);
        window.ready(5);
        assert_eq!(window.take_prefix(), Some(5));
    }

    #[test]
    fn a_run_never_ends_at_a_tag_that_was_settled_individually() {
        let mut window = window(3);
        window.ready(1);
        window.settled(2);
        assert_eq!(window.take_prefix(), Some(1));
        window.settled(3);
        assert_eq!(window.take_prefix(), None);
    }

    #[test]
    fn those_behind_a_slow_one_are_acknowledged_individually_and_once() {
        let mut window = window(4);
        window.ready(2);
        window.ready(4);
        assert_eq!(window.waiting(), 2);
        assert_eq!(window.take_stragglers(), [2, 4]);
        assert_eq!(window.take_stragglers(), [0_u64; 0]);
        window.ready(1);
        assert_eq!(window.take_prefix(), Some(1));
        window.ready(3);
        assert_eq!(window.take_prefix(), Some(3));
    }
}
