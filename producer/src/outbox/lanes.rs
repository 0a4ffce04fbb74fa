//! The lanes of the outbox: how far each destination has got, and which of them have fallen behind.
//!
//! As long as every queue takes what it is sent, all lanes are level and the relay publishes for all of them. A
//! lane whose queue refuses events, or confirms none, falls behind alone: it is caught up from the table by itself,
//! and then joins the others again.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use common::destination::Name;
use store::{Backlog, LaneMark, Position};
use tokio::sync::Notify;

/// Why a lane has fallen behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its queue refuses events.
    Full,
    /// Its queue confirms nothing, while others do.
    Silent,
    /// It was behind before the start.
    Before,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "its queue is full",
            Self::Silent => "its queue confirms nothing",
            Self::Before => "it was behind before the start",
        })
    }
}

/// Where a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// With the relay, which publishes to it every event beyond `after`.
    Level { after: Position },
    /// It has every event up to `up_to`. One that has been caught up to `asks` asks to join the relay there.
    Behind { up_to: Position, cause: Cause, asks: Option<Position> },
    /// It is caught up as far as `at`; the relay publishes to it every event beyond.
    Joining { up_to: Position, at: Position, cause: Cause },
}

/// Some of the lanes, by their number. There are at most 32 destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneSet(u32);

impl LaneSet {
    pub(crate) fn insert(&mut self, lane: usize) {
        self.0 |= Self::bit(lane);
    }

    pub(crate) fn remove(&mut self, lane: usize) {
        self.0 &= !Self::bit(lane);
    }

    pub(crate) fn contains(self, lane: usize) -> bool {
        self.0 & Self::bit(lane) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..32).filter(move |lane| self.contains(*lane))
    }

    fn bit(lane: usize) -> u32 {
        u32::try_from(lane).ok().and_then(|lane| 1_u32.checked_shl(lane)).unwrap_or(0)
    }
}

impl FromIterator<usize> for LaneSet {
    fn from_iter<I: IntoIterator<Item = usize>>(lanes: I) -> Self {
        let mut set = Self::default();
        lanes.into_iter().for_each(|lane| set.insert(lane));
        set
    }
}

/// The lanes, which the relay and what catches a lane up share.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Mutex<Vec<Lane>>,
    /// Up to here the relay has published to all lanes that are with it.
    relay: AtomicU64,
    /// Counts the changes of places, so that the relay sees one without a lock.
    version: AtomicU64,
    /// Wakes the relay.
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct Lane {
    destination: Name,
    place: Place,
    /// How many events it has not got, while it is behind.
    lag: u64,
    changed: Arc<Notify>,
}

impl Lane {
    fn up_to(&self, relay: Position) -> Position {
        match self.place {
            Place::Level { .. } => relay,
            Place::Behind { up_to, .. } | Place::Joining { up_to, .. } => up_to,
        }
    }

    fn is_level(&self) -> bool {
        matches!(self.place, Place::Level { .. })
    }

    fn go(&mut self, place: Place) {
        self.place = place;
        self.changed.notify_one();
    }
}

impl Lanes {
    /// The lanes of these destinations, where an earlier process left them.
    pub(super) fn new(destinations: &[Name], backlog: &Backlog, wake: Arc<Notify>) -> Self {
        // The relay begins where those are that are furthest. The others are caught up.
        let marks = destinations.iter().map(|destination| mark(destination, backlog));
        let relay = marks.max().unwrap_or(backlog.published_up_to);
        let lane = |destination: &Name| {
            let up_to = mark(destination, backlog);
            let behind = Place::Behind { up_to, cause: Cause::Before, asks: None };
            Lane {
                destination: destination.clone(),
                place: if up_to < relay { behind } else { Place::Level { after: 0 } },
                // Of several that are behind, this counts too much for those that are not the last, until they are level.
                lag: if up_to < relay { backlog.events } else { 0 },
                changed: Arc::default(),
            }
        };
        let lanes = Mutex::new(destinations.iter().map(lane).collect());
        Self { lanes, relay: relay.into(), version: AtomicU64::default(), wake }
    }

    /// Up to here the relay has published to all lanes that are with it.
    pub(crate) fn published_by_relay(&self) -> Position {
        self.relay.load(Ordering::Acquire)
    }

    /// The relay has published up to here to all lanes that are with it.
    pub(crate) fn relay_published(&self, up_to: Position) {
        self.relay.store(up_to, Ordering::Release);
    }

    /// Rises with each change that the relay has to see.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn place(&self, lane: usize) -> Place {
        self.lock().get(lane).map_or(Place::Level { after: 0 }, |lane| lane.place)
    }

    /// Waits for the next change of this lane's place. Cancellation safe.
    pub(crate) async fn changed(&self, lane: usize) {
        let changed = self.lock().get(lane).map(|lane| Arc::clone(&lane.changed));
        match changed {
            Some(changed) => changed.notified().await,
            None => std::future::pending().await,
        }
    }

    /// The lanes to which the relay publishes an event at this position.
    pub(crate) fn with_relay(&self, position: Position) -> LaneSet {
        let lanes = self.lock();
        let with = lanes.iter().enumerate().filter(|(_, lane)| match lane.place {
            Place::Level { after } => position > after,
            Place::Behind { .. } => false,
            Place::Joining { at, .. } => position > at,
        });
        with.map(|(index, _)| index).collect()
    }

    /// Whether one event to all queues at once serves every lane, from this position on.
    pub(crate) fn all_level(&self, position: Position) -> bool {
        self.lock().iter().all(|lane| matches!(lane.place, Place::Level { after } if after <= position))
    }

    /// Whether some lane has fallen behind.
    pub(crate) fn any_behind(&self) -> bool {
        self.lock().iter().any(|lane| !lane.is_level())
    }

    /// The lanes of these destinations.
    pub(crate) fn of(&self, destinations: &[Name]) -> LaneSet {
        let lanes = self.lock();
        let named = lanes.iter().enumerate().filter(|(_, lane)| destinations.contains(&lane.destination));
        named.map(|(index, _)| index).collect()
    }

    /// Whether these are all.
    pub(crate) fn is_all(&self, lanes: LaneSet) -> bool {
        lanes.iter().count() == self.lock().len()
    }

    pub(crate) fn destination(&self, lane: usize) -> Option<Name> {
        self.lock().get(lane).map(|lane| lane.destination.clone())
    }

    /// A lane of the relay falls behind: it has what comes up to `up_to`, and not the `lag` events that the relay has
    /// not published to all. Returns whether it was with the relay.
    pub(crate) fn falls_behind(&self, lane: usize, up_to: Position, cause: Cause, lag: u64) -> bool {
        let fallen = self.change(lane, |lane| match lane.place {
            Place::Level { .. } => {
                lane.lag = lag;
                lane.go(Place::Behind { up_to, cause, asks: None });
                true
            }
            Place::Joining { up_to: own, .. } => {
                lane.go(Place::Behind { up_to: own.min(up_to), cause, asks: None });
                true
            }
            Place::Behind { .. } => false,
        });
        if fallen {
            let destination = self.destination(lane).map(tracing::field::display);
            tracing::warn!(destination, "the destination falls behind the others, because {cause}");
        }
        fallen
    }

    /// A lane that is behind has `count` events more, and has all up to `up_to`.
    pub(crate) fn progresses(&self, lane: usize, up_to: Position, count: usize) {
        self.change(lane, |lane| {
            lane.lag = lane.lag.saturating_sub(count as u64);
            match &mut lane.place {
                Place::Level { .. } => {}
                Place::Behind { up_to: own, .. } | Place::Joining { up_to: own, .. } => *own = up_to.max(*own),
            }
            false
        });
    }

    /// A lane that is behind is refused events, or gets no confirm: it does not join now.
    pub(crate) fn is_held_up(&self, lane: usize, why: Cause) {
        self.change(lane, |lane| match lane.place {
            Place::Level { .. } => false,
            Place::Behind { up_to, .. } => {
                lane.place = Place::Behind { up_to, cause: why, asks: None };
                false
            }
            Place::Joining { up_to, .. } => {
                lane.place = Place::Behind { up_to, cause: why, asks: None };
                true
            }
        });
    }

    /// A lane that has been caught up to here asks to join the relay.
    pub(crate) fn asks_to_join(&self, lane: usize, caught_up_to: Position) {
        self.change(lane, |lane| match &mut lane.place {
            Place::Behind { asks, .. } => {
                *asks = Some(caught_up_to);
                true
            }
            _ => false,
        });
    }

    /// Lets those join that ask for it. The relay has taken everything up to `taken` from the outbox, and publishes
    /// to them what it takes from now on.
    pub(crate) fn let_join(&self, taken: Position) {
        for lane in self.lock().iter_mut() {
            if let Place::Behind { up_to, cause, asks: Some(caught_up_to) } = lane.place {
                lane.go(Place::Joining { up_to, at: taken.max(caught_up_to), cause });
            }
        }
    }

    /// A lane that joins has everything up to where it joins.
    pub(crate) fn arrives(&self, lane: usize) {
        let arrived = self.change(lane, |lane| match lane.place {
            Place::Joining { at, .. } => {
                lane.lag = 0;
                lane.place = Place::Level { after: at };
                true
            }
            _ => false,
        });
        if arrived {
            let destination = self.destination(lane).map(tracing::field::display);
            tracing::info!(destination, "the destination has caught up with the others");
        }
    }

    /// How far the outbox is published: to every destination, and to those that are further.
    pub(crate) fn marks(&self) -> (Position, Vec<LaneMark>) {
        let (lanes, relay) = (self.lock(), self.published_by_relay());
        if lanes.iter().all(Lane::is_level) {
            return (relay, Vec::new());
        }
        let slowest = lanes.iter().map(|lane| lane.up_to(relay)).min().unwrap_or(relay);
        let ahead = lanes.iter().map(|lane| (lane, lane.up_to(relay))).filter(|(_, up_to)| *up_to > slowest);
        let mark = |(lane, up_to): (&Lane, Position)| LaneMark { destination: lane.destination.clone(), up_to };
        (slowest, ahead.map(mark).collect())
    }

    /// Counts what was accepted for those that are behind.
    pub(super) fn handed_over(&self, events: u64) {
        for lane in self.lock().iter_mut().filter(|lane| !lane.is_level()) {
            lane.lag += events;
        }
    }

    /// How many events a lane has not got because it has fallen behind.
    pub(crate) fn lag(&self, lane: usize) -> u64 {
        self.lock().get(lane).map_or(0, |lane| lane.lag)
    }

    /// How many events the one that is furthest behind has not got.
    pub(super) fn longest(&self) -> u64 {
        self.lock().iter().map(|lane| lane.lag).max().unwrap_or(0)
    }

    /// The destination that has not got this many events.
    pub(super) fn behind_by(&self, events: u64) -> Option<Name> {
        self.lock().iter().find(|lane| !lane.is_level() && lane.lag >= events).map(|lane| lane.destination.clone())
    }

    /// How many events each destination has not got because it has fallen behind.
    pub(super) fn lags(&self) -> Vec<(Name, u64)> {
        self.lock().iter().map(|lane| (lane.destination.clone(), lane.lag)).collect()
    }

    fn change(&self, lane: usize, change: impl FnOnce(&mut Lane) -> bool) -> bool {
        let changed = self.lock().get_mut(lane).is_some_and(change);
        if changed {
            self.version.fetch_add(1, Ordering::AcqRel);
            self.wake.notify_one();
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the outbox was published to this destination at the start.
fn mark(destination: &Name, backlog: &Backlog) -> Position {
    let own = backlog.lanes.iter().find(|lane| lane.destination == *destination).map(|lane| lane.up_to);
    own.unwrap_or(0).max(backlog.published_up_to)
}

#[cfg(test)]
mod tests {
    use store::testing::names;

    use super::*;

    const NORTH: usize = 0;
    const SOUTH: usize = 1;

    fn lanes() -> Lanes {
        Lanes::new(&names(["north", "south"]), &Backlog::default(), Arc::default())
    }

    fn marks(lanes: &Lanes, relay: Position) -> (Position, Vec<LaneMark>) {
        lanes.relay_published(relay);
        lanes.marks()
    }

    fn ahead(destination: &str, up_to: Position) -> LaneMark {
        LaneMark { destination: destination.parse().unwrap(), up_to }
    }

    fn set(lanes: &[usize]) -> LaneSet {
        lanes.iter().copied().collect()
    }

    #[test]
    fn all_lanes_are_level_as_long_as_every_queue_takes_what_it_is_sent() {
        let lanes = lanes();
        assert!(lanes.all_level(1) && !lanes.any_behind());
        assert_eq!(lanes.with_relay(1), set(&[NORTH, SOUTH]));
        assert_eq!(marks(&lanes, 7), (7, Vec::new()));
    }

    #[test]
    fn one_that_falls_behind_keeps_its_mark_and_the_others_go_on() {
        let lanes = lanes();
        assert!(lanes.falls_behind(NORTH, 4, Cause::Full, 3));
        assert!(!lanes.falls_behind(NORTH, 9, Cause::Full, 8), "it is behind already");
        assert_eq!(lanes.with_relay(5), set(&[SOUTH]));
        assert_eq!(marks(&lanes, 7), (4, vec![ahead("south", 7)]));
        lanes.progresses(NORTH, 5, 1);
        assert_eq!(marks(&lanes, 9), (5, vec![ahead("south", 9)]));
        lanes.handed_over(10);
        assert_eq!((lanes.longest(), lanes.behind_by(12)), (12, "north".parse().ok()));
        assert_eq!(lanes.behind_by(13), None);
    }

    #[test]
    fn one_that_has_caught_up_joins_the_relay_and_misses_nothing() {
        let lanes = lanes();
        lanes.falls_behind(NORTH, 4, Cause::Full, 3);
        lanes.let_join(7);
        assert!(matches!(lanes.place(NORTH), Place::Behind { .. }), "it has not asked");
        lanes.asks_to_join(NORTH, 6);
        lanes.let_join(9);
        // What the relay had taken is still caught up, and what it takes from now on comes from it.
        assert_eq!(lanes.place(NORTH), Place::Joining { up_to: 4, at: 9, cause: Cause::Full });
        assert_eq!((lanes.with_relay(9), lanes.with_relay(10)), (set(&[SOUTH]), set(&[NORTH, SOUTH])));
        assert!(!lanes.all_level(10));
        lanes.progresses(NORTH, 9, 3);
        lanes.arrives(NORTH);
        assert!(lanes.all_level(9) && !lanes.all_level(8));
        assert_eq!(marks(&lanes, 11), (11, Vec::new()));
        assert_eq!(lanes.longest(), 0);
    }

    #[test]
    fn one_that_is_further_than_the_relay_gets_nothing_twice() {
        let lanes = lanes();
        lanes.falls_behind(NORTH, 4, Cause::Silent, 3);
        lanes.asks_to_join(NORTH, 12);
        lanes.let_join(9);
        lanes.progresses(NORTH, 12, 8);
        lanes.arrives(NORTH);
        assert_eq!((lanes.with_relay(12), lanes.with_relay(13)), (set(&[SOUTH]), set(&[NORTH, SOUTH])));
    }

    #[test]
    fn one_that_is_held_up_while_it_joins_is_behind_again_where_it_was() {
        for fall in [&(|lanes: &Lanes| lanes.is_held_up(NORTH, Cause::Full)) as &dyn Fn(&Lanes), &|lanes: &Lanes| {
            assert!(lanes.falls_behind(NORTH, 11, Cause::Full, 1))
        }] {
            let lanes = lanes();
            lanes.falls_behind(NORTH, 4, Cause::Full, 3);
            lanes.asks_to_join(NORTH, 6);
            lanes.let_join(9);
            lanes.progresses(NORTH, 6, 2);
            let before = lanes.version();
            fall(&lanes);
            assert_eq!(lanes.place(NORTH), Place::Behind { up_to: 6, cause: Cause::Full, asks: None });
            assert!(lanes.version() > before, "the relay sees it");
            assert_eq!(lanes.with_relay(12), set(&[SOUTH]));
        }
    }

    #[test]
    fn after_a_restart_each_begins_where_it_was() {
        let backlog = Backlog {
            events: 6,
            published_up_to: 4,
            last: 10,
            lanes: vec![ahead("south", 8), ahead("removed", 9)],
            oldest_at: None,
        };
        let destinations = names(["north", "south"]);
        let lanes = Lanes::new(&destinations, &backlog, Arc::default());
        assert_eq!(lanes.published_by_relay(), 8);
        assert_eq!(lanes.place(NORTH), Place::Behind { up_to: 4, cause: Cause::Before, asks: None });
        assert_eq!(lanes.with_relay(9), set(&[SOUTH]));
        assert_eq!(lanes.longest(), 6);
        // Where all were level, none is behind.
        let lanes = Lanes::new(&destinations, &Backlog { lanes: Vec::new(), ..backlog }, Arc::default());
        assert!(lanes.all_level(5));
    }

    #[test]
    fn there_is_room_for_as_many_lanes_as_destinations() {
        let all: LaneSet = (0..32).collect();
        assert_eq!((all.iter().count(), all.contains(31), all.contains(32)), (32, true, false));
        let mut one = set(&[3, 5]);
        one.remove(3);
        assert_eq!((one.iter().collect::<Vec<_>>(), one.and(set(&[3])).is_empty()), (vec![5], true));
    }
}
