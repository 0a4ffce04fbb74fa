//! One delivery, and the window of those that are not settled yet.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::trace_context::TraceParent;

/// A message as it came from a queue.
#[derive(Debug)]
pub struct Delivery {
    /// Owed to the broker; see [`Unsettled`].
    pub unsettled: Unsettled,
    /// The body, as it is.
    pub body: Vec<u8>,
    /// Whether the broker has handed this message out before.
    pub redelivered: bool,
    /// The message's id, where it is one of ours.
    pub message_id: Option<Uuid>,
    /// The caller, for the trace.
    pub trace: Option<TraceParent>,
    /// The dead letter of which this is the redrive, see [`super::dead_letter::REDRIVEN`].
    pub dead_letter: Option<Uuid>,
}

/// The duty to settle one delivery. It is consumed by settling, so that no delivery can be settled
/// twice; dropping it leaves the delivery to be handed out again when the channel ends.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a delivery that is not settled is delivered again"]
pub struct Unsettled {
    pub(super) tag: u64,
}

#[cfg(test)]
impl Unsettled {
    /// For tests of what is done with one.
    pub(crate) fn for_test(tag: u64) -> Self {
        Self { tag }
    }
}

/// How a delivery leaves the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done with.
    Ack,
    /// To the dead-letter queue, without another try.
    DeadLetter,
}

/// Delivery tags of one channel from the oldest that is not settled, so that a run of finished ones
/// can be acknowledged in one frame.
#[derive(Debug)]
pub(super) struct Window {
    first: u64,
    states: VecDeque<State>,
    /// How many wait for their ack behind one that still runs.
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

    /// Remembers that this one may be acknowledged.
    pub(super) fn ready(&mut self, tag: u64) {
        if let Some(state @ State::Running) = self.state(tag) {
            *state = State::Ready;
            self.ready += 1;
        }
    }

    /// Remembers that this one was settled by a frame of its own.
    pub(super) fn settled(&mut self, tag: u64) {
        if let Some(state @ State::Running) = self.state(tag) {
            *state = State::Settled;
        }
    }

    /// How many wait for their ack.
    pub(super) fn waiting(&self) -> usize {
        self.ready
    }

    /// The tag up to which everything is finished, to be acknowledged with `multiple`. It is one that
    /// has not been acknowledged yet: naming another closes the channel.
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

    /// The tags that are finished behind one that still runs, to be acknowledged one by one.
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
    fn a_tag_that_has_its_own_frame_is_never_named_by_a_run() {
        let mut window = window(3);
        window.ready(1);
        window.settled(2);
        assert_eq!(window.take_prefix(), Some(1));
        window.settled(3);
        assert_eq!(window.take_prefix(), None);
    }

    #[test]
    fn those_behind_a_slow_one_are_acknowledged_singly_and_once() {
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
