//! The state of a delivery, and what each line of a report makes of it.
//!
//! A delivery is pending until it ends: delivered or dead-lettered. What was delivered stays delivered. What
//! was dead-lettered is pending again only while its dead letter is being sent again. Progress ends nothing
//! and takes no end back.

use common::outcome::{Attempt, Handover, Outcome, OutcomeStatus, Progress};
use uuid::Uuid;

use super::merge::merge;
use crate::{LedgerEntry, StoreFault};

/// A line of a report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Line<'a> {
    /// A delivery has ended.
    Ended(&'a Outcome),
    /// A delivery waits.
    Waits(&'a Progress),
}

/// A delivery as it is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) entry: LedgerEntry,
    pub(crate) pending: bool,
    /// The dead letter that is being sent again.
    pub(crate) redriven: Option<Uuid>,
}

/// What a line did to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken<'a> {
    /// It is as it was, but for its attempts.
    Noted,
    /// It was pending, and has ended with this.
    Ended(&'a Outcome),
    /// It waits in the store from now on.
    HandedOver(Wait<'a>),
}

/// A wait that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) handover: &'a Handover,
    /// How many of its attempts count.
    pub(crate) spent: u32,
    /// Whether an attempt had no answer.
    pub(crate) unanswered: bool,
}

impl<'a> Line<'a> {
    /// The order and the destination of the delivery.
    pub(crate) fn delivery(self) -> (Uuid, &'a str) {
        match self {
            Self::Ended(outcome) => (outcome.order_id.0, outcome.destination.as_str()),
            Self::Waits(progress) => (progress.order_id.0, progress.destination.as_str()),
        }
    }

    /// The entry of a delivery that nothing else is known of.
    fn entry(self) -> LedgerEntry {
        match self {
            Self::Ended(outcome) => outcome.into(),
            Self::Waits(progress) => progress.into(),
        }
    }
}

impl Delivery {
    /// A delivery of which this is the first line, and what that does to it.
    pub(crate) fn begin(line: Line<'_>) -> (Self, Taken<'_>) {
        let this = Self { entry: line.entry(), pending: matches!(line, Line::Waits(_)), redriven: None };
        let taken = match line {
            Line::Ended(outcome) => Taken::Ended(outcome),
            Line::Waits(progress) => this.handed_over(progress),
        };
        (this, taken)
    }

    /// A delivery as it is stored. A stored entry that cannot be read is replaced by what is reported: failing here
    /// would fail every order that shares the transaction, again and again. `None` if it has ended and no line says
    /// how.
    pub(crate) fn stored(
        entry: Result<LedgerEntry, StoreFault>,
        pending: bool,
        redriven: Option<Uuid>,
        lines: &[Line<'_>],
    ) -> Option<Self> {
        let entry = match entry {
            Ok(entry) => entry,
            Err(fault) => {
                let line = lines.iter().find(|line| pending || matches!(line, Line::Ended(_)));
                let (order_id, destination) = lines.first()?.delivery();
                let fate = if line.is_some() { "it is replaced" } else { "it stays" };
                tracing::error!(%order_id, destination, %fault, "a delivery in the ledger cannot be read, {fate}");
                line?.entry()
            }
        };
        Some(Self { entry, pending, redriven })
    }

    /// Takes a line into account.
    pub(crate) fn take<'a>(&mut self, line: Line<'a>) -> Taken<'a> {
        self.entry = merge(&self.entry, line.entry());
        match line {
            Line::Ended(outcome) => {
                let ends = self.pending && self.is_ended_by(outcome);
                if ends {
                    (self.pending, self.redriven) = (false, None);
                }
                if !self.pending {
                    self.entry.next_attempt_at = None;
                }
                if ends { Taken::Ended(outcome) } else { Taken::Noted }
            }
            Line::Waits(progress) if self.pending && self.is_of(progress.dead_letter) => {
                self.entry.next_attempt_at = Some(progress.next_attempt_at);
                self.handed_over(progress)
            }
            Line::Waits(_) => Taken::Noted,
        }
    }

    /// The word of its status in the database.
    pub(crate) fn status(&self) -> &'static str {
        match self.entry.status {
            Some(status) if !self.pending => status.as_str(),
            _ => "pending",
        }
    }

    /// Whether it has become a dead letter.
    pub(crate) fn is_dead(&self) -> bool {
        !self.pending && self.entry.status == Some(OutcomeStatus::DeadLettered)
    }

    /// While a dead letter of it is being sent again, it ends with the outcome of that, or with whatever
    /// delivers it.
    fn is_ended_by(&self, outcome: &Outcome) -> bool {
        outcome.status == OutcomeStatus::Delivered || self.is_of(outcome.dead_letter)
    }

    /// Whether a line that names this dead letter is about the delivery that is pending.
    fn is_of(&self, dead_letter: Option<Uuid>) -> bool {
        self.redriven.is_none() || self.redriven == dead_letter
    }

    fn handed_over<'a>(&self, progress: &'a Progress) -> Taken<'a> {
        let Some(handover) = &progress.handover else { return Taken::Noted };
        // A worker that was given a message which another one had before knows only of its own attempts.
        let (spent, unanswered) = match handover.spent {
            Some(spent) => (spent, handover.unanswered),
            None => (self.spent(), handover.unanswered || self.attempts().any(is_unanswered)),
        };
        Taken::HandedOver(Wait { progress, handover, spent, unanswered })
    }

    /// How many attempts of the delivery that is pending count.
    fn spent(&self) -> u32 {
        let omitted = if self.redriven.is_none() { self.entry.omitted.spent } else { 0 };
        let kept = self.attempts().filter(|attempt| attempt.is_spent()).count();
        u32::try_from(kept).unwrap_or(u32::MAX).saturating_add(omitted)
    }

    /// The attempts of the delivery that is pending: a redriven one begins after it ended before.
    fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        let ended_at = self.entry.settled_at.filter(|_| self.redriven.is_some());
        self.entry.attempts.iter().filter(move |attempt| ended_at.is_none_or(|ended_at| attempt.at > ended_at))
    }
}

/// Whether the destination may still be working on it.
fn is_unanswered(attempt: &Attempt) -> bool {
    attempt.status_code.is_none() && attempt.is_spent()
}

#[cfg(test)]
mod tests;
