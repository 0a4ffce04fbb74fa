//! Several reports of one delivery.

use common::outcome::{Outcome, OutcomeStatus::Delivered, Reason::Unreported};
use uuid::Uuid;

use crate::StoreFault;

/// One truth from two reports of the same delivery: a worker that died between report and settlement
/// delivers again, and may find another end. What was delivered stays delivered, and every attempt that was
/// made is kept.
fn merge(known: Outcome, reported: Outcome) -> Outcome {
    let mut attempts = known.attempts.clone();
    attempts.extend(reported.attempts.iter().filter(|new| !known.attempts.contains(new)).cloned());
    attempts.sort_by_key(|attempt| attempt.at);
    let mut truth = match (known.status, reported.status) {
        (Delivered, Delivered) if reported.settled_at < known.settled_at => reported,
        (Delivered, _) => known,
        (_, Delivered) => reported,
        // A worker that saw the failure knows better than a collector that only found it dead.
        _ if known.reason == Some(Unreported.into()) => reported,
        _ if reported.reason == Some(Unreported.into()) => known,
        _ if reported.settled_at > known.settled_at => reported,
        _ => known,
    };
    truth.attempts = attempts;
    truth
}

/// What is true of a delivery after a further report. A stored outcome that cannot be read is replaced:
/// failing here would fail every order that shares the transaction, again and again.
pub(crate) fn merge_stored(known: Result<Outcome, StoreFault>, reported: &Outcome) -> Outcome {
    match known {
        Ok(known) => merge(known, reported.clone()),
        Err(fault) => {
            let Outcome { order_id, correlation_id, .. } = reported;
            tracing::error!(%order_id, %correlation_id, %fault, "replaced");
            reported.clone()
        }
    }
}

/// Whether a report ends a delivery that is pending again: while its dead letter `redriven` is being sent
/// again, the delivery ends with the outcome of that, or with whatever delivers it.
pub(crate) fn ends(redriven: Option<Uuid>, reported: &Outcome) -> bool {
    reported.status == Delivered || reported.dead_letter == redriven
}

#[cfg(test)]
mod tests {
    use common::{
        event::EventId,
        order::{CorrelationId, OrderId},
        outcome::{Attempt, OutcomeStatus, Reason},
    };
    use jiff::Timestamp;

    use super::*;
    use crate::columns::parse_outcome;

    fn outcome(status: OutcomeStatus, reason: Option<Reason>, at: &[i64]) -> Outcome {
        let time = |second: i64| Timestamp::from_second(second).unwrap();
        Outcome {
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
        }
    }

    #[test]
    fn a_repeated_report_changes_nothing() {
        let one = outcome(OutcomeStatus::Delivered, None, &[1, 2]);
        assert_eq!(merge(one.clone(), one.clone()), one);
    }

    #[test]
    fn what_was_delivered_stays_delivered_and_every_attempt_is_kept() {
        let delivered = outcome(OutcomeStatus::Delivered, None, &[1]);
        let dead = outcome(OutcomeStatus::DeadLettered, Some(Reason::Rejected), &[5, 6]);
        for (known, reported) in [(delivered.clone(), dead.clone()), (dead, delivered)] {
            let truth = merge(known, reported);
            assert_eq!((truth.status, truth.reason, truth.attempts.len()), (OutcomeStatus::Delivered, None, 3));
        }
    }

    #[test]
    fn of_two_dead_letters_the_later_one_is_kept() {
        let early = outcome(OutcomeStatus::DeadLettered, Some(Reason::AttemptsExhausted), &[1]);
        let late = outcome(OutcomeStatus::DeadLettered, Some(Reason::Rejected), &[9]);
        for (known, reported) in [(early.clone(), late.clone()), (late, early)] {
            assert_eq!(merge(known, reported).reason, Some(Reason::Rejected.into()));
        }
    }

    #[test]
    fn a_report_is_kept_rather_than_that_there_was_none() {
        let report = outcome(OutcomeStatus::DeadLettered, Some(Reason::AttemptsExhausted), &[1]);
        let none = outcome(OutcomeStatus::DeadLettered, Some(Reason::Unreported), &[]);
        let none = Outcome { settled_at: Timestamp::from_second(9).unwrap(), ..none };
        for (known, reported) in [(report.clone(), none.clone()), (none, report.clone())] {
            assert_eq!(merge(known, reported), report);
        }
    }

    #[test]
    fn what_is_stored_and_cannot_be_read_is_replaced_by_the_report() {
        let report = outcome(OutcomeStatus::DeadLettered, Some(Reason::Rejected), &[1]);
        assert_eq!(merge_stored(parse_outcome("{}"), &report), report);
    }

    #[test]
    fn a_delivery_under_redrive_ends_with_the_report_of_that_or_with_any_delivery() {
        let (mine, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let report = |status, dead_letter| Outcome { dead_letter, ..outcome(status, None, &[1]) };
        assert!(ends(mine, &report(OutcomeStatus::DeadLettered, mine)));
        for dead_letter in [None, other] {
            assert!(!ends(mine, &report(OutcomeStatus::DeadLettered, dead_letter)));
            assert!(ends(mine, &report(OutcomeStatus::Delivered, dead_letter)));
        }
    }
}
