//! How the delivery of a dead letter ended, and what is stored of it.

use common::{
    outcome::{Attempt, Outcome, OutcomeStatus, Reason, one_line},
    status::DeadLetterState,
    word::Word,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::last_answer;
use crate::{Collected, LedgerEntry, StoreFault, columns::json};

/// Longest error that is stored, in characters: it is part of indexes, and may come from anywhere.
const MAX_ERROR_CHARS: usize = 300;

/// How the delivery of a dead letter ended.
pub(crate) enum Ending {
    /// As the ledger has it, or needs no ledger.
    Known(End),
    /// The ledger does not have it yet: this outcome is recorded.
    New(Reason, Box<Outcome>),
    /// A report may still come.
    Open,
}

/// The end of a delivery.
pub(crate) struct End {
    pub(crate) state: DeadLetterState,
    pub(crate) reason: Word<Reason>,
    /// What the ledger has of the delivery, if the dead letter is one.
    pub(crate) entry: Option<Box<LedgerEntry>>,
    /// Whether it was recorded just now.
    pub(crate) changed: bool,
}

/// The order whose delivery the dead letter is, if it is one.
pub(crate) fn order_of(letter: &Collected) -> Option<Uuid> {
    letter.origin.destination().and(letter.identity.as_ref()).map(|identity| identity.order_id.0)
}

/// The end of a dead letter's delivery; `ledger` is what the ledger has, if the delivery has ended there.
pub(crate) fn ending(letter: &Collected, ledger: Option<LedgerEntry>, now: Timestamp) -> Ending {
    let (Some(identity), Some(destination)) = (&letter.identity, letter.origin.destination()) else {
        // No report can name it.
        let reason = letter.reason.unwrap_or(Reason::Unreported).into();
        return Ending::Known(End { state: DeadLetterState::Dead, reason, entry: None, changed: false });
    };
    if let Some(entry) = ledger {
        // A body that cannot be read is not what was delivered, whatever order it names.
        let unreadable = letter.reason.filter(|reason| *reason == Reason::Unreadable);
        let state = if unreadable.is_some() { DeadLetterState::Dead } else { corrected_state(&entry) };
        let known = unreadable.map(Word::from).or_else(|| entry.reason.clone());
        let reason = known.unwrap_or_else(|| letter.reason.unwrap_or(Reason::Unreported).into());
        return Ending::Known(End { state, reason, entry: Some(Box::new(entry)), changed: false });
    }
    let reason = match letter.reason {
        Some(reason) => reason,
        None if now < letter.report_by => return Ending::Open,
        None => Reason::Unreported,
    };
    let outcome = Outcome {
        event_id: identity.event_id,
        order_id: identity.order_id,
        correlation_id: identity.correlation_id.clone(),
        destination: destination.clone(),
        status: OutcomeStatus::DeadLettered,
        reason: Some(reason.into()),
        attempts: Vec::new(),
        settled_at: letter.died_at,
        dead_letter: letter.parent,
    };
    Ending::New(reason, Box::new(outcome))
}

/// The state of a dead letter whose delivery has ended like this.
pub(crate) fn corrected_state(entry: &LedgerEntry) -> DeadLetterState {
    match entry.status {
        Some(OutcomeStatus::Delivered) => DeadLetterState::Delivered,
        Some(OutcomeStatus::DeadLettered) | None => DeadLetterState::Dead,
    }
}

/// What is stored of the dead letter that was sent again and became another one.
pub(crate) struct Parent {
    pub(crate) key_used_at: Option<i64>,
    pub(crate) redrives: i64,
}

/// The columns of a dead letter that are not taken from the queue unchanged.
pub(crate) struct DeadLetterColumns {
    pub(crate) order_id: Option<Uuid>,
    pub(crate) status_code: Option<i32>,
    pub(crate) error: Option<String>,
    pub(crate) answer: Option<String>,
    pub(crate) failed_at: i64,
    pub(crate) key_used_at: Option<i64>,
    pub(crate) attempts: String,
    pub(crate) headers: String,
    pub(crate) properties: String,
    pub(crate) deaths: String,
    pub(crate) parent: Option<Uuid>,
    pub(crate) redrives: i64,
}

impl DeadLetterColumns {
    /// A parent that is not stored is not one.
    pub(crate) fn of(letter: &Collected, end: &End, parent: Option<Parent>) -> Result<Self, StoreFault> {
        let attempts = end.entry.as_ref().map(|entry| entry.attempts.as_slice()).unwrap_or_default();
        let first = attempts.first().map(|attempt| attempt.at).or(letter.accepted_at).map(Timestamp::as_microsecond);
        let used = parent.as_ref().and_then(|parent| parent.key_used_at);
        let failed_at = end.entry.as_ref().and_then(|entry| entry.settled_at).unwrap_or(letter.died_at);
        Ok(Self {
            order_id: letter.identity.as_ref().map(|identity| identity.order_id.0),
            status_code: last_status(attempts),
            error: letter
                .error
                .as_deref()
                .map(|error| one_line(error, MAX_ERROR_CHARS))
                .or_else(|| last_error(attempts)),
            answer: last_answer(attempts),
            failed_at: failed_at.as_microsecond(),
            key_used_at: [used, first].into_iter().flatten().min(),
            attempts: json(attempts)?,
            headers: json(&letter.content.headers)?,
            properties: json(&letter.content.properties)?,
            deaths: json(&letter.content.deaths)?,
            parent: letter.parent.filter(|_| parent.is_some()),
            redrives: parent.map_or(0, |parent| parent.redrives + 1),
        })
    }
}

/// The status of the last attempt.
pub(crate) fn last_status(attempts: &[Attempt]) -> Option<i32> {
    attempts.last()?.status_code.map(i32::from)
}

/// The error of the last attempt.
pub(crate) fn last_error(attempts: &[Attempt]) -> Option<String> {
    attempts.last()?.error.as_deref().map(|error| one_line(error, MAX_ERROR_CHARS))
}

#[cfg(test)]
mod tests {
    use common::event::{Identity, OrderCreated};

    use super::*;
    use crate::{Content, testing};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A dead letter of north that says nothing by itself; its report is waited for until second 5.
    fn letter(order: &OrderCreated) -> Collected {
        let (event_id, order_id, correlation_id) = (order.event_id, order.order_id, order.correlation_id.clone());
        Collected {
            fingerprint: [0; 32],
            otherwise: None,
            origin: "north".parse().unwrap(),
            identity: Some(Identity { event_id, order_id, correlation_id }),
            reason: None,
            error: None,
            died_at: at(1),
            accepted_at: Some(at(0)),
            parent: None,
            report_by: at(5),
            content: Content::default(),
        }
    }

    #[test]
    fn a_report_is_waited_for_and_then_missing() {
        let letter = letter(&testing::order("c-1", 0).event());
        assert!(matches!(ending(&letter, None, at(4)), Ending::Open));
        let Ending::New(Reason::Unreported, outcome) = ending(&letter, None, at(5)) else { panic!("not recorded") };
        assert_eq!((outcome.status, outcome.settled_at), (OutcomeStatus::DeadLettered, at(1)));
        let limit = Collected { reason: Some(Reason::DeliveryLimit), ..letter };
        assert!(matches!(ending(&limit, None, at(4)), Ending::New(Reason::DeliveryLimit, _)));
    }

    #[test]
    fn the_ledger_knows_the_end_unless_the_body_cannot_be_read() {
        let order = testing::order("c-1", 0).event();
        let state = |reason, delivered| {
            let letter = Collected { reason, ..letter(&order) };
            match ending(&letter, Some((&testing::ended(&order, "north", delivered)).into()), at(4)) {
                Ending::Known(End { state, reason, changed: false, .. }) => (state, reason),
                _ => panic!("not known"),
            }
        };
        assert_eq!(state(None, true), (DeadLetterState::Delivered, Reason::Unreported.into()));
        assert_eq!(state(None, false), (DeadLetterState::Dead, Reason::Rejected.into()));
        assert_eq!(state(Some(Reason::Unreadable), true), (DeadLetterState::Dead, Reason::Unreadable.into()));
    }

    #[test]
    fn what_is_no_delivery_has_no_end_in_the_ledger() {
        let order = testing::order("c-1", 0).event();
        let report = Collected { origin: "outcomes".parse().unwrap(), ..letter(&order) };
        let stranger = Collected { identity: None, ..letter(&order) };
        for letter in [report, stranger] {
            assert_eq!(order_of(&letter), None);
            let Ending::Known(end) = ending(&letter, None, at(0)) else { panic!("not known") };
            assert_eq!((end.state, end.reason, end.entry), (DeadLetterState::Dead, Reason::Unreported.into(), None));
        }
    }

    #[test]
    fn a_key_is_as_old_as_its_first_use_over_the_lineage() {
        let order = testing::order("c-1", 0).event();
        let Ending::New(reason, outcome) = ending(&letter(&order), None, at(5)) else { panic!("not recorded") };
        let entry = Some(Box::new((&*outcome).into()));
        let end = End { state: DeadLetterState::Dead, reason: reason.into(), entry, changed: true };
        let again = Collected { parent: Some(Uuid::nil()), ..letter(&order) };
        let parent = Parent { key_used_at: Some(-7), redrives: 2 };
        let columns = DeadLetterColumns::of(&again, &end, Some(parent)).unwrap();
        assert_eq!((columns.key_used_at, columns.redrives, columns.parent), (Some(-7), 3, Some(Uuid::nil())));
        let columns = DeadLetterColumns::of(&again, &end, None).unwrap();
        assert_eq!((columns.key_used_at, columns.redrives, columns.parent), (Some(0), 0, None));
    }
}
