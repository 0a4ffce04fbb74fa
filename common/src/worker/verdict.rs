//! The verdict: what an attempt means for its delivery.
//!
//! An attempt that the API answered, or may have acted on, is *spent*: there are only so many. One that never
//! reached the API, or met one that asks to be left alone or is ill as a whole, costs nothing but time.

use std::time::Duration;

use crate::{
    http_client::{AttemptError, Failure},
    outcome::Reason,
    worker::circuit::Sign,
};

/// What an attempt means for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The destination has accepted it.
    Delivered,
    /// It is not attempted any more.
    Dead(Reason),
    /// It waits for its next attempt.
    Again {
        /// Whether the attempt counts.
        spent: bool,
        /// The shortest wait that the destination asks for.
        at_least: Duration,
    },
}

/// What has to be known for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Situation {
    /// How many attempts count, without this one.
    pub(super) spent: u32,
    /// The most that may.
    pub(super) max_attempts: u32,
    /// Whether an earlier attempt had no answer.
    pub(super) unanswered: bool,
    /// Whether the destination has accepted the credential before.
    pub(super) authorized: bool,
    /// Whether the circuit is closed: a destination that is known to be ill costs no attempts.
    pub(super) closed: bool,
}

impl Situation {
    /// The verdict on a further attempt.
    pub(super) fn verdict<T>(self, result: &Result<T, AttemptError>) -> Verdict {
        let error = match result {
            Ok(_) => return Verdict::Delivered,
            Err(error) => error,
        };
        let (spent, reason) = match error.failure {
            Failure::Rejected => return Verdict::Dead(Reason::Rejected),
            Failure::Unauthorized if !self.authorized => return Verdict::Dead(Reason::Rejected),
            // Our own time limit provokes exactly this.
            Failure::InProgress if !self.unanswered && error.retry_after.is_none() => {
                return Verdict::Dead(Reason::Rejected);
            }
            Failure::Unreached | Failure::Throttled => (false, Reason::AttemptsExhausted),
            Failure::Unauthorized => (self.closed, Reason::Rejected),
            Failure::Unanswered | Failure::Stale | Failure::Failed | Failure::InProgress => {
                (self.closed, Reason::AttemptsExhausted)
            }
        };
        if spent && self.spent + 1 >= self.max_attempts {
            return Verdict::Dead(reason);
        }
        Verdict::Again { spent, at_least: error.retry_after.unwrap_or_default() }
    }
}

/// What the result of a call says about the destination.
pub(super) fn sign<T>(result: &Result<T, AttemptError>, authorized: bool) -> Sign {
    match result.as_ref().err().map(|error| error.failure) {
        None | Some(Failure::Rejected | Failure::InProgress) => Sign::Well,
        Some(Failure::Unauthorized) if authorized => Sign::Refused,
        Some(Failure::Unauthorized) => Sign::Well,
        Some(Failure::Throttled) => Sign::Busy,
        Some(Failure::Unreached | Failure::Unanswered | Failure::Stale | Failure::Failed) => Sign::Ill,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Situation = Situation { spent: 0, max_attempts: 3, unanswered: false, authorized: true, closed: true };

    fn failed(failure: Failure, retry_after: Option<u64>) -> Result<(), AttemptError> {
        let retry_after = retry_after.map(Duration::from_secs);
        Err(AttemptError { failure, status: None, error: None, retry_after, answer: None })
    }

    fn again(spent: bool) -> Verdict {
        Verdict::Again { spent, at_least: Duration::ZERO }
    }

    #[test]
    fn only_what_the_api_answered_or_may_have_acted_on_is_spent() {
        for (failure, spent) in [
            (Failure::Failed, true),
            (Failure::Unanswered, true),
            (Failure::Unauthorized, true),
            (Failure::Unreached, false),
            (Failure::Throttled, false),
        ] {
            assert_eq!(FIRST.verdict(&failed(failure, None)), again(spent), "{failure:?}");
            let ill = Situation { closed: false, ..FIRST };
            assert_eq!(ill.verdict(&failed(failure, None)), again(false), "{failure:?}");
        }
    }

    #[test]
    fn the_last_attempt_that_counts_ends_it() {
        let last = Situation { spent: 2, ..FIRST };
        assert_eq!(last.verdict(&failed(Failure::Failed, None)), Verdict::Dead(Reason::AttemptsExhausted));
        assert_eq!(last.verdict(&failed(Failure::Unauthorized, None)), Verdict::Dead(Reason::Rejected));
        assert_eq!(last.verdict(&failed(Failure::Unreached, None)), again(false));
        assert_eq!(last.verdict(&Ok(())), Verdict::Delivered);
    }

    #[test]
    fn a_request_in_progress_is_waited_for_only_if_ours_may_be_the_one() {
        assert_eq!(FIRST.verdict(&failed(Failure::InProgress, None)), Verdict::Dead(Reason::Rejected));
        let after_a_timeout = Situation { unanswered: true, ..FIRST };
        assert_eq!(after_a_timeout.verdict(&failed(Failure::InProgress, None)), again(true));
        let asked = Verdict::Again { spent: true, at_least: Duration::from_secs(7) };
        assert_eq!(FIRST.verdict(&failed(Failure::InProgress, Some(7))), asked);
    }

    #[test]
    fn a_credential_that_was_never_accepted_is_a_mistake() {
        let never = Situation { authorized: false, ..FIRST };
        assert_eq!(never.verdict(&failed(Failure::Unauthorized, None)), Verdict::Dead(Reason::Rejected));
        assert_eq!(sign(&failed(Failure::Unauthorized, None), false), Sign::Well);
        assert_eq!(sign(&failed(Failure::Unauthorized, None), true), Sign::Refused);
    }
}
