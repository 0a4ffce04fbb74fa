//! One truth from two reports of the same delivery.

use common::outcome::{Attempt, OutcomeStatus::Delivered, Reason::Unreported};

use crate::{LedgerEntry, Omitted};

/// What is true after a further report: a worker that died between report and settlement delivers again, and may
/// find another end. What was delivered stays delivered, and every attempt that was made is kept or counted.
pub(super) fn merge(known: &LedgerEntry, reported: LedgerEntry) -> LedgerEntry {
    let (attempts, omitted) = attempts(known, &reported);
    let known_is_true = match (known.status, reported.status) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(Delivered), Some(Delivered)) => reported.settled_at >= known.settled_at,
        (Some(Delivered), _) => true,
        (_, Some(Delivered)) => false,
        // A worker that saw the failure knows better than a collector that only found it dead.
        _ if known.reason == Some(Unreported.into()) => false,
        _ if reported.reason == Some(Unreported.into()) => true,
        _ => reported.settled_at <= known.settled_at,
    };
    let truth = if known_is_true { known.clone() } else { reported };
    LedgerEntry { attempts, omitted, next_attempt_at: known.next_attempt_at, ..truth }
}

/// The attempts of both, oldest first, and those that are only counted.
fn attempts(known: &LedgerEntry, reported: &LedgerEntry) -> (Vec<Attempt>, Omitted) {
    let mut all = known.attempts.clone();
    let mut omitted = known.omitted;
    // What lies where attempts were left out is counted already: a worker reports its attempts again when the
    // delivery ends.
    let gap = (omitted.count > 0)
        .then(|| Some((known.attempts.get(LedgerEntry::FIRST - 1)?.at, known.attempts.get(LedgerEntry::FIRST)?.at)))
        .flatten();
    let is_counted = |attempt: &Attempt| gap.is_some_and(|(from, to)| from < attempt.at && attempt.at < to);
    let is_new = |attempt: &&Attempt| !known.attempts.contains(attempt) && !is_counted(attempt);
    all.extend(reported.attempts.iter().filter(is_new).cloned());
    all.sort_by_key(|attempt| attempt.at);
    let too_many = all.len().saturating_sub(LedgerEntry::FIRST + LedgerEntry::LAST);
    if too_many > 0 {
        for attempt in all.drain(LedgerEntry::FIRST..LedgerEntry::FIRST + too_many) {
            omitted.count = omitted.count.saturating_add(1);
            omitted.spent = omitted.spent.saturating_add(u32::from(attempt.is_spent()));
        }
    }
    (all, omitted)
}

#[cfg(test)]
mod tests {
    use common::{
        event::EventId,
        order::{CorrelationId, OrderId},
        outcome::{Outcome, OutcomeStatus, Reason},
    };
    use jiff::Timestamp;

    use super::*;

    fn entry(status: OutcomeStatus, reason: Option<Reason>, at: &[i64]) -> LedgerEntry {
        let time = |second: i64| Timestamp::from_second(second).unwrap();
        let outcome = Outcome {
            event_id: EventId(uuid::Uuid::nil()),
            order_id: OrderId(uuid::Uuid::nil()),
            correlation_id: CorrelationId::parse("c".into()).unwrap(),
            destination: "inventory".parse().unwrap(),
            status,
            reason: reason.map(Into::into),
            attempts: at
                .iter()
                .map(|&second| Attempt {
                    at: time(second),
                    duration_ms: 1,
                    status_code: Some(200),
                    error: None,
                    answer: None,
                    spent: None,
                })
                .collect(),
            settled_at: time(at.last().copied().unwrap_or_default()),
            dead_letter: None,
        };
        (&outcome).into()
    }

    #[test]
    fn a_repeated_report_changes_nothing() {
        let one = entry(OutcomeStatus::Delivered, None, &[1, 2]);
        assert_eq!(merge(&one, one.clone()), one);
    }

    #[test]
    fn what_was_delivered_stays_delivered_and_every_attempt_is_kept() {
        let delivered = entry(OutcomeStatus::Delivered, None, &[1]);
        let dead = entry(OutcomeStatus::DeadLettered, Some(Reason::Rejected), &[5, 6]);
        for (known, reported) in [(delivered.clone(), dead.clone()), (dead, delivered)] {
            let truth = merge(&known, reported);
            assert_eq!((truth.status, truth.reason, truth.attempts.len()), (Some(OutcomeStatus::Delivered), None, 3));
        }
    }

    #[test]
    fn of_two_dead_letters_the_later_one_is_kept() {
        let early = entry(OutcomeStatus::DeadLettered, Some(Reason::AttemptsExhausted), &[1]);
        let late = entry(OutcomeStatus::DeadLettered, Some(Reason::Rejected), &[9]);
        for (known, reported) in [(early.clone(), late.clone()), (late, early)] {
            assert_eq!(merge(&known, reported).reason, Some(Reason::Rejected.into()));
        }
    }

    #[test]
    fn a_report_is_kept_rather_than_that_there_was_none() {
        let report = entry(OutcomeStatus::DeadLettered, Some(Reason::AttemptsExhausted), &[1]);
        let none = entry(OutcomeStatus::DeadLettered, Some(Reason::Unreported), &[]);
        let none = LedgerEntry { settled_at: Some(Timestamp::from_second(9).unwrap()), ..none };
        for (known, reported) in [(report.clone(), none.clone()), (none, report.clone())] {
            assert_eq!(merge(&known, reported), report);
        }
    }

    #[test]
    fn of_very_many_attempts_the_first_and_the_last_are_kept_and_the_rest_counted_once() {
        let seconds: Vec<i64> = (0..250).collect();
        let nothing = entry(OutcomeStatus::DeadLettered, Some(Reason::Rejected), &[]);
        let mut known = nothing.clone();
        for some in seconds.chunks(7) {
            known = merge(&known, LedgerEntry { status: None, ..entry(OutcomeStatus::Delivered, None, some) });
        }
        for _ in 0..2 {
            let kept: Vec<_> = known.attempts.iter().map(|attempt| attempt.at.as_second()).collect();
            assert_eq!(kept, (0..10).chain(160..250).collect::<Vec<_>>());
            assert_eq!(known.omitted, Omitted { count: 150, spent: 150 });
            // As a worker reports them at the end.
            known = merge(&known, entry(OutcomeStatus::Delivered, None, &seconds));
        }
    }
}
