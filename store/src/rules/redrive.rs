//! How a redrive moves on: by what operators do to it, and by the ends of what it sent.

use std::collections::BTreeMap;

use common::{
    outcome::OutcomeStatus,
    status::{DeadLetterState, RedriveStatus},
};
use uuid::Uuid;

use super::Line;
use crate::{Control, Progress};

impl Control {
    /// The status that it leads to, if it is allowed.
    pub(crate) fn applied_to(self, status: RedriveStatus) -> Option<RedriveStatus> {
        use RedriveStatus::{Cancelled, Paused, Running, Stopped};
        match (self, status) {
            (Self::Pause, Running) => Some(Paused),
            (Self::Resume, Paused | Stopped) => Some(Running),
            (Self::Cancel, Running | Paused | Stopped) => Some(Cancelled),
            _ => None,
        }
    }
}

impl Progress {
    /// Adds the number of dead letters in a state, by its stored word. A word of a newer version counts nowhere.
    pub(crate) fn add(&mut self, state: &str, count: u64) {
        let counted = match state {
            "queued" => &mut self.queued,
            "sending" => &mut self.sending,
            "sent" => &mut self.sent,
            "delivered" => &mut self.delivered,
            "dead_lettered" => &mut self.dead_lettered,
            "cancelled" => &mut self.cancelled,
            _ => return,
        };
        *counted += count;
    }
}

/// How the dead letters that were sent again have ended, in ascending order. One that was delivered has been,
/// whatever else was reported.
pub(crate) fn redrive_ends<'a, 'l: 'a>(lines: impl IntoIterator<Item = &'a Line<'l>>) -> BTreeMap<Uuid, OutcomeStatus> {
    let mut ends = BTreeMap::new();
    for line in lines {
        if let Line::Ended(outcome) = line
            && let Some(dead_letter) = outcome.dead_letter
        {
            let end = ends.entry(dead_letter).or_insert(outcome.status);
            if outcome.status == OutcomeStatus::Delivered {
                *end = outcome.status;
            }
        }
    }
    ends
}

/// The state of a dead letter that was sent again and has ended like this.
pub(crate) fn state_after(end: OutcomeStatus) -> DeadLetterState {
    match end {
        OutcomeStatus::Delivered => DeadLetterState::Delivered,
        // It lives on as a later one.
        OutcomeStatus::DeadLettered => DeadLetterState::Redriven,
    }
}

#[cfg(test)]
mod tests {
    use common::outcome::Outcome;

    use super::*;
    use crate::testing;

    #[test]
    fn a_redrive_is_paused_resumed_and_cancelled_only_before_it_has_ended() {
        use Control::{Cancel, Pause, Resume};
        use RedriveStatus::{Cancelled, Completed, Paused, Running, Stopped};
        for (status, allowed) in [
            (Running, [Some(Paused), None, Some(Cancelled)]),
            (Paused, [None, Some(Running), Some(Cancelled)]),
            (Stopped, [None, Some(Running), Some(Cancelled)]),
            (Completed, [None, None, None]),
            (Cancelled, [None, None, None]),
        ] {
            assert_eq!([Pause, Resume, Cancel].map(|control| control.applied_to(status)), allowed, "{status:?}");
        }
    }

    #[test]
    fn progress_counts_each_state_that_is_known() {
        let mut progress = Progress::default();
        let states = ["queued", "sending", "sent", "delivered", "dead_lettered", "cancelled"];
        for (state, count) in states.into_iter().zip(1..) {
            progress.add(state, count);
        }
        progress.add("of a newer version", 7);
        let Progress { queued, sending, sent, delivered, dead_lettered, cancelled } = progress;
        assert_eq!([queued, sending, sent, delivered, dead_lettered, cancelled], [1, 2, 3, 4, 5, 6]);
        assert_eq!(progress.under_way(), 5);
    }

    #[test]
    fn of_several_ends_of_a_dead_letter_the_delivery_counts() {
        let order = testing::order("c-1", 0).event();
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let end = |dead_letter, delivered| Outcome { dead_letter, ..testing::ended(&order, "north", delivered) };
        let outcomes = [end(Some(two), false), end(Some(one), true), end(Some(one), false), end(None, true)];
        let ends: Vec<_> = redrive_ends(&outcomes.iter().map(Line::Ended).collect::<Vec<_>>()).into_iter().collect();
        assert_eq!(ends, [(one, OutcomeStatus::Delivered), (two, OutcomeStatus::DeadLettered)]);
        assert_eq!(state_after(OutcomeStatus::Delivered), DeadLetterState::Delivered);
        assert_eq!(state_after(OutcomeStatus::DeadLettered), DeadLetterState::Redriven);
    }
}
