//! How many calls are made at a time.
//!
//! An adaptive limit follows what the destination shows: it grows while all of it is used and calls are as
//! quick as ever, and shrinks when calls are refused, time out or become slow. Additive increase and
//! multiplicative decrease (Chiu and Jain, 1989), after a quick start that doubles; latency is compared with
//! the best that was seen, as in TCP Vegas.

use std::time::Duration;

use tokio::time::Instant;

/// Where an adaptive limit starts.
const START: usize = 64;
/// The highest limit.
pub(super) const HIGHEST: usize = 1_000;
/// The shortest round. A longer call makes its round as long as itself.
const ROUND: Duration = Duration::from_millis(50);
/// Calls are slow when they take more than this many times the best time.
const SLOW: u32 = 3;
/// Shorter differences are the noise of a busy machine.
const NOISE: Duration = Duration::from_millis(20);
/// What is left of the limit after refusals, and after slow calls.
const AFTER_REFUSALS: f64 = 0.75;
const AFTER_SLOWNESS: f64 = 0.9;
/// Slowness alone shrinks the limit no further.
const FEW: f64 = 8.0;
/// The best time is taken anew after so many rounds, because a destination may change.
const BEST_FOR: u32 = 600;

/// How many calls may run at a time.
#[derive(Debug)]
pub(super) enum Limit {
    /// As configured.
    Fixed(usize),
    /// As the destination shows.
    Adaptive(Adaptive),
}

/// A limit that follows the destination.
#[derive(Debug)]
pub(super) struct Adaptive {
    limit: f64,
    /// Whether the limit still doubles.
    starting: bool,
    round: Round,
    best: Option<Duration>,
    /// Rounds since the best time was taken.
    best_age: u32,
    /// When it last shrank: calls from before say nothing about the new limit.
    shrank: Option<Instant>,
}

/// What was seen since the last adjustment.
#[derive(Debug, Default)]
struct Round {
    began: Option<Instant>,
    times: Vec<Duration>,
    refused: bool,
    full: bool,
}

impl Limit {
    /// A fixed limit, or an adaptive one.
    pub(super) fn new(fixed: Option<usize>) -> Self {
        match fixed {
            Some(limit) => Self::Fixed(limit),
            None => Self::Adaptive(Adaptive {
                limit: START as f64,
                starting: true,
                round: Round::default(),
                best: None,
                best_age: 0,
                shrank: None,
            }),
        }
    }

    /// The limit.
    pub(super) fn get(&self) -> usize {
        match self {
            Self::Fixed(limit) => *limit,
            Self::Adaptive(adaptive) => adaptive.limit as usize,
        }
    }

    /// Takes note of a call that has ended: whether it was refused or had no answer, how long it took, and how
    /// many ran when it ended, itself included.
    pub(super) fn note(&mut self, refused: bool, took: Duration, running: usize, now: Instant) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.note(refused, took, running, now);
        }
    }
}

impl Adaptive {
    fn note(&mut self, refused: bool, took: Duration, running: usize, now: Instant) {
        if self.shrank.is_some_and(|shrank| now.duration_since(shrank) < took) {
            return;
        }
        let full = running >= self.limit as usize;
        let Round { began, times, refused: any_refused, full: any_full } = &mut self.round;
        let began = *began.get_or_insert(now);
        *any_refused |= refused;
        *any_full |= full;
        if times.len() < HIGHEST {
            times.push(took);
        }
        if now.duration_since(began) >= ROUND.max(took) {
            self.adjust(now);
        }
    }

    fn adjust(&mut self, now: Instant) {
        let Round { mut times, refused, full, .. } = std::mem::take(&mut self.round);
        let middle = times.len() / 2;
        let median = *times.select_nth_unstable(middle).1;
        self.best_age += 1;
        if self.best_age > BEST_FOR || self.best.is_none_or(|best| median < best) {
            (self.best, self.best_age) = (Some(median), 0);
        }
        // Calls that are slow although few run are slow for another reason.
        let slow = full && self.best.is_some_and(|best| median > best * SLOW + NOISE);
        self.limit = if refused {
            self.limit * AFTER_REFUSALS
        } else if slow {
            (self.limit * AFTER_SLOWNESS).max(FEW.min(self.limit))
        } else if !full {
            return;
        } else if self.starting {
            self.limit * 2.0
        } else {
            self.limit + 1.0
        }
        .clamp(1.0, HIGHEST as f64);
        if refused || slow {
            self.starting = false;
            self.shrank = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A destination that takes `slots` calls at a time and refuses more, or makes them wait if `queues`.
    fn run(limit: &mut Limit, slots: usize, queues: bool, rounds: usize, now: &mut Instant) {
        for _ in 0..rounds {
            let calls = limit.get();
            let took = Duration::from_millis(50);
            let took = if queues { took * u32::try_from(calls.div_ceil(slots)).unwrap() } else { took };
            *now += took;
            for call in 0..calls {
                limit.note(!queues && call >= slots, took, calls - call, *now);
            }
        }
    }

    #[test]
    fn it_finds_how_many_calls_are_taken_at_a_time() {
        let (mut limit, mut now) = (Limit::new(None), Instant::now());
        run(&mut limit, 40, false, 60, &mut now);
        let mut used = 0;
        for _ in 0..100 {
            run(&mut limit, 40, false, 1, &mut now);
            used += limit.get().min(40);
        }
        assert!(used > 100 * 40 * 6 / 10, "{used} of {}", 100 * 40);
    }

    #[test]
    fn it_grows_within_a_second_as_long_as_calls_are_quick() {
        let (mut limit, mut now) = (Limit::new(None), Instant::now());
        run(&mut limit, HIGHEST, true, 20, &mut now);
        assert_eq!(limit.get(), HIGHEST);
    }

    #[test]
    fn it_does_not_fill_the_queue_of_a_destination() {
        let (mut limit, mut now) = (Limit::new(None), Instant::now());
        run(&mut limit, 40, true, 200, &mut now);
        assert!((20..=320).contains(&limit.get()), "{}", limit.get());
    }

    #[test]
    fn it_stays_where_it_is_while_it_is_not_used() {
        let mut limit = Limit::new(None);
        let (mut now, before) = (Instant::now(), limit.get());
        for _ in 0..1_000 {
            now += Duration::from_millis(5);
            limit.note(false, Duration::from_millis(5), 1, now);
        }
        assert_eq!(limit.get(), before);
    }

    #[test]
    fn a_number_fixes_it() {
        let mut limit = Limit::new(Some(7));
        limit.note(true, Duration::from_secs(1), 7, Instant::now() + ROUND);
        assert_eq!(limit.get(), 7);
    }
}
