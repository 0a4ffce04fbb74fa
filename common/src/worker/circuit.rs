//! The circuit: whether a destination is called at all.
//!
//! While it is *closed*, every call is free, and its result is counted over a sliding window. It *opens* when
//! at least half of the window's calls have failed, or when nothing gets through at all: then nothing is called, and
//! no attempt is spent. After a pause it is *half-open*: a single call, the probe, finds out whether the
//! destination works again. If it does, more and more calls are allowed until the circuit is closed; if it
//! does not, the next pause is longer.
//!
//! It knows no clock and makes no call: it is asked and told.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::retry::Delays;

/// The window over which results are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Fewer calls than this say nothing about a destination.
const MIN_CALLS: usize = 10;
/// A success so short ago means that the destination serves some calls.
const AT_ONCE: Duration = Duration::from_millis(200);
/// Most results that are remembered. At a high rate they are a shorter window, which is enough to judge.
const MAX_RESULTS: usize = 1_000;
/// The first pause, before jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The circuit closes when this many calls at a time have succeeded, or so long after the first success.
const RAMPED_UP: usize = 32;
const RAMP: Duration = Duration::from_secs(5);

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CircuitState {
    /// Every call is made.
    Closed,
    /// A few calls find out whether the destination works again.
    HalfOpen,
    /// No call is made.
    Open,
}

impl CircuitState {
    /// As people read it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// What a call says about the destination, whatever it means for its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It works.
    Well,
    /// It does not respond, or fails.
    Ill,
    /// It refuses the credential that it accepted before.
    Refused,
    /// It asks to be left alone.
    Busy,
}

/// A change of the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is open, and stays so for this long.
    Opened(Duration),
    /// It is half-open.
    Recovering,
    /// It is closed again.
    Closed,
}

/// The circuit of one destination.
#[derive(Debug)]
pub(super) struct Circuit {
    phase: Phase,
    results: VecDeque<(Instant, bool)>,
    failed: usize,
    /// Calls since the last success that were none.
    failed_in_a_row: usize,
    last_success: Option<Instant>,
    /// What the last call that was no success said.
    last: Sign,
    pauses: Delays,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open {
        until: Instant,
    },
    /// `allowed` calls at a time; after as many successes twice as many. It closes at `closes_at`, which the first
    /// success sets, at the latest.
    HalfOpen {
        allowed: usize,
        succeeded: usize,
        closes_at: Option<Instant>,
    },
}

impl Circuit {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Closed,
            results: VecDeque::new(),
            failed: 0,
            failed_in_a_row: 0,
            last_success: None,
            last: Sign::Well,
            pauses: Delays::endless(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// The state.
    pub(super) fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
            Phase::Open { .. } => CircuitState::Open,
        }
    }

    /// Why it is not closed, worded for the person on call.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Closed => None,
            _ if self.last == Sign::Refused => {
                Some("the API refuses the credential that it accepted before (401 or 403)")
            }
            _ if self.last == Sign::Busy => Some("the API takes nothing and asks to be left alone (429 or 503)"),
            _ => Some("the API does not respond or fails; it is probed, and orders wait"),
        }
    }

    /// How many calls may run at a time, as far as the circuit is concerned.
    pub(super) fn allowed(&self) -> usize {
        match self.phase {
            Phase::Closed => usize::MAX,
            Phase::Open { .. } => 0,
            Phase::HalfOpen { allowed, .. } => allowed,
        }
    }

    /// Whether a failed call spends an attempt: the destination is not known to be ill.
    pub(super) fn spends(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// When it changes by itself.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { until } => Some(until),
            Phase::HalfOpen { closes_at, .. } => closes_at,
            Phase::Closed => None,
        }
    }

    /// To be called at [`Circuit::wakes_at`].
    pub(super) fn wake(&mut self, now: Instant) -> Option<Change> {
        match self.phase {
            Phase::Open { until } if until <= now => {
                self.phase = Phase::HalfOpen { allowed: 1, succeeded: 0, closes_at: None };
                Some(Change::Recovering)
            }
            Phase::HalfOpen { closes_at: Some(at), .. } if at <= now => Some(self.close()),
            _ => None,
        }
    }

    /// Takes note of the result of a call.
    pub(super) fn note(&mut self, sign: Sign, now: Instant) -> Option<Change> {
        match (sign, &mut self.phase) {
            // A call from before it opened says nothing new.
            (_, Phase::Open { .. }) => None,
            (Sign::Well, Phase::HalfOpen { allowed, succeeded, closes_at }) => {
                closes_at.get_or_insert(now + RAMP);
                *succeeded += 1;
                if *succeeded < *allowed {
                    return None;
                }
                (*allowed, *succeeded) = (*allowed * 2, 0);
                (*allowed > RAMPED_UP).then(|| self.close())
            }
            (_, Phase::HalfOpen { .. }) => {
                self.last = sign;
                Some(self.open(now))
            }
            (_, Phase::Closed) => {
                self.count(sign, now);
                self.is_ill(now).then(|| self.open(now))
            }
        }
    }

    fn close(&mut self) -> Change {
        *self = Self::new();
        Change::Closed
    }

    fn open(&mut self, now: Instant) -> Change {
        let pause = self.pauses.next_delay();
        self.phase = Phase::Open { until: now + pause };
        self.results.clear();
        self.failed = 0;
        Change::Opened(pause)
    }

    fn count(&mut self, sign: Sign, now: Instant) {
        if sign == Sign::Well {
            (self.failed_in_a_row, self.last_success) = (0, Some(now));
        } else {
            self.failed_in_a_row += 1;
            self.last = sign;
        }
        // That a destination takes no more for the moment is no failure.
        if sign != Sign::Busy {
            let failed = sign != Sign::Well;
            self.results.push_back((now, failed));
            self.failed += usize::from(failed);
        }
        let old = |&(at, _): &(Instant, bool)| now.duration_since(at) > WINDOW;
        while self.results.len() > MAX_RESULTS || self.results.front().is_some_and(old) {
            if let Some((_, failed)) = self.results.pop_front() {
                self.failed -= usize::from(failed);
            }
        }
    }

    /// Whether at least half of enough calls failed, or nothing gets through at all.
    fn is_ill(&self, now: Instant) -> bool {
        // One that serves as much as it can refuses the rest at once, perhaps many in a row.
        let serves = self.last_success.is_some_and(|at| now.duration_since(at) < AT_ONCE);
        let nothing_gets_through = self.failed_in_a_row >= MIN_CALLS && !serves;
        nothing_gets_through || (self.results.len() >= MIN_CALLS && 2 * self.failed >= self.results.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A circuit after these results, a millisecond apart.
    fn after(signs: &[Sign]) -> (Circuit, Instant) {
        let (mut circuit, mut now) = (Circuit::new(), Instant::now());
        for sign in signs {
            now += Duration::from_millis(1);
            circuit.note(*sign, now);
        }
        (circuit, now)
    }

    #[test]
    fn half_of_enough_calls_open_it_and_a_few_failures_do_not() {
        let one_in_three = [Sign::Ill, Sign::Well, Sign::Well].repeat(100);
        assert_eq!(after(&one_in_three).0.state(), CircuitState::Closed);
        assert_eq!(after(&[Sign::Ill; MIN_CALLS - 1]).0.state(), CircuitState::Closed);
        assert_eq!(after(&[Sign::Ill; MIN_CALLS]).0.state(), CircuitState::Open);
        let well_then_ill = [[Sign::Well; 20], [Sign::Ill; 20]].concat();
        assert_eq!(after(&well_then_ill).0.state(), CircuitState::Open);
    }

    #[test]
    fn a_slow_trickle_of_nothing_but_failures_opens_it() {
        let (mut circuit, mut now) = (Circuit::new(), Instant::now());
        for _ in 0..MIN_CALLS {
            now += 2 * WINDOW;
            circuit.note(Sign::Ill, now);
        }
        assert_eq!((circuit.state(), circuit.allowed()), (CircuitState::Open, 0));
    }

    #[test]
    fn one_that_serves_some_calls_and_puts_off_the_rest_is_not_ill() {
        let some = [[Sign::Well; 1].as_slice(), &[Sign::Busy; 100]].concat().repeat(9);
        assert_eq!(after(&some).0.state(), CircuitState::Closed);
        let (circuit, _) = after(&[[Sign::Well; 1].as_slice(), &[Sign::Busy; 300]].concat());
        assert_eq!(circuit.state(), CircuitState::Open);
        assert!(circuit.reason().unwrap().contains("left alone"));
    }

    #[test]
    fn one_probe_decides_and_its_failure_makes_the_pause_longer() {
        let (mut circuit, mut now) = after(&[Sign::Refused; MIN_CALLS]);
        let mut longest = Duration::ZERO;
        for _ in 0..8 {
            let until = circuit.wakes_at().unwrap();
            assert_eq!(circuit.wake(until - Duration::from_nanos(1)), None);
            assert_eq!(circuit.wake(until), Some(Change::Recovering));
            assert_eq!((circuit.allowed(), circuit.spends()), (1, false));
            now = until;
            let Some(Change::Opened(pause)) = circuit.note(Sign::Refused, now) else { panic!("not opened") };
            longest = longest.max(pause);
        }
        assert!(longest > Duration::from_secs(8) && longest <= LONGEST_PAUSE, "{longest:?}");
        assert!(circuit.reason().unwrap().contains("credential"));
        assert_eq!(circuit.note(Sign::Well, now), None, "a late answer from before");
    }

    #[test]
    fn it_ramps_up_before_it_closes() {
        let (mut circuit, _) = after(&[Sign::Ill; MIN_CALLS]);
        let now = circuit.wakes_at().unwrap();
        circuit.wake(now);
        let mut calls = 0;
        let mut allowed = vec![circuit.allowed()];
        while circuit.note(Sign::Well, now) != Some(Change::Closed) {
            calls += 1;
            if allowed.last() != Some(&circuit.allowed()) {
                allowed.push(circuit.allowed());
            }
            assert!(calls < 1_000);
        }
        assert_eq!(allowed, [1, 2, 4, 8, 16, 32]);
        assert_eq!((circuit.state(), circuit.reason()), (CircuitState::Closed, None));
    }

    #[test]
    fn with_few_calls_it_closes_after_a_while() {
        let (mut circuit, _) = after(&[Sign::Ill; MIN_CALLS]);
        let now = circuit.wakes_at().unwrap();
        circuit.wake(now);
        assert_eq!(circuit.wakes_at(), None, "there was no probe yet");
        circuit.note(Sign::Well, now);
        assert_eq!(circuit.wakes_at(), Some(now + RAMP));
        assert_eq!(circuit.wake(now + RAMP), Some(Change::Closed));
    }
}
