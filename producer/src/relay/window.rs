//! The window of the relay: the events that are taken from the outbox and not published.

use std::collections::{BTreeMap, VecDeque};

use store::{OutboxEntry, Position};
use tokio::time::{Duration, Instant};

use crate::outbox::{
    Outbox,
    lanes::{LaneSet, Lanes},
};

/// Most events in flight.
pub(super) const WINDOW: usize = 512;
/// Most bytes in flight, give or take one message.
pub(super) const WINDOW_BYTES: usize = 8 * 1_024 * 1_024;

/// To which queues an event is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// To all, through the exchange.
    All,
    /// To each of these by itself.
    Each(LaneSet),
}

impl To {
    fn reaches(self, lane: usize) -> bool {
        match self {
            Self::All => true,
            Self::Each(lanes) => lanes.contains(lane),
        }
    }
}

/// One message in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) position: Position,
    /// The lane whose queue it went to; `None` if it went to all.
    pub(super) lane: Option<usize>,
}

/// An event in flight.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) entry: OutboxEntry,
    pub(super) published_at: Instant,
    /// Where it is not confirmed.
    to: To,
    /// Whether some queue has confirmed it by itself.
    pub(super) heard_of: bool,
}

/// The window. It outlives the session.
#[derive(Debug)]
pub(super) struct Window {
    /// The last event that was taken from the outbox.
    pub(super) taken: Position,
    /// Taken and to be published, in the order of their positions.
    waiting: VecDeque<(OutboxEntry, To)>,
    /// Published and not confirmed.
    in_flight: BTreeMap<Position, Flight>,
    bytes_in_flight: usize,
    /// How many events may be in flight: one after a session without an answer, until there is one.
    most: usize,
}

impl Window {
    /// A window that begins after `taken`.
    pub(super) fn new(taken: Position) -> Self {
        Self { taken, waiting: VecDeque::new(), in_flight: BTreeMap::new(), bytes_in_flight: 0, most: WINDOW }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing that was taken is left to be published.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    /// The next event to publish, if there is one and room for it.
    pub(super) fn next(&mut self, outbox: &Outbox) -> Option<(OutboxEntry, To)> {
        if self.in_flight.len() >= self.most || self.bytes_in_flight >= WINDOW_BYTES {
            return None;
        }
        if let Some(next) = self.waiting.pop_front() {
            return Some(next);
        }
        let entry = outbox.next(self.taken)?;
        self.taken = entry.position;
        Some((entry, To::All))
    }

    /// Notes that an event was published to these queues.
    pub(super) fn sent(&mut self, entry: OutboxEntry, to: To) {
        self.bytes_in_flight += entry.body.len();
        self.in_flight.insert(entry.position, Flight { entry, published_at: Instant::now(), to, heard_of: false });
    }

    /// Takes events that were read from the table, in their order.
    pub(super) fn take(&mut self, entries: Vec<OutboxEntry>, lanes: &Lanes) {
        let after = self.taken;
        for entry in entries.into_iter().filter(|entry| entry.position > after) {
            self.taken = entry.position;
            // Where it has ended already, nothing is published again.
            let to = entry.lacking.as_ref().map_or(To::All, |names| match lanes.of(names) {
                some if lanes.is_all(some) => To::All,
                some => To::Each(some),
            });
            self.waiting.push_back((entry, to));
        }
    }

    /// A message is confirmed. Returns the event if it is published with it to every lane that is with the relay.
    pub(super) fn confirmed(&mut self, sent: Sent) -> Option<Flight> {
        self.most = WINDOW;
        let Some(flight) = self.in_flight.get_mut(&sent.position) else {
            // Every queue has it, though this was not waited for any longer.
            if sent.lane.is_none()
                && let Some(index) = self.waiting.iter().position(|(entry, _)| entry.position == sent.position)
            {
                let (entry, to) = self.waiting.remove(index)?;
                return Some(Flight { entry, published_at: Instant::now(), to, heard_of: true });
            }
            return None;
        };
        match (&mut flight.to, sent.lane) {
            (To::Each(lanes), Some(lane)) => {
                lanes.remove(lane);
                flight.heard_of = true;
                if !lanes.is_empty() {
                    return None;
                }
            }
            (To::All, Some(_)) => return None,
            (_, None) => {}
        }
        self.land(sent.position)
    }

    /// An event that went to all queues is to be published to each of them by itself.
    pub(super) fn apart(&mut self, position: Position, lanes: &Lanes) {
        if self.in_flight.get(&position).is_some_and(|flight| flight.to == To::All)
            && let Some(Flight { entry, .. }) = self.land(position)
        {
            let to = To::Each(lanes.with_relay(position));
            // In the order of commits, before all that was never published.
            let index = self.waiting.partition_point(|(waiting, _)| waiting.position < position);
            self.waiting.insert(index, (entry, to));
        }
    }

    /// Up to where a lane has every event.
    pub(super) fn complete_up_to(&self, lane: usize) -> Position {
        let in_flight =
            self.in_flight.iter().find(|(_, flight)| flight.to.reaches(lane)).map(|(position, _)| *position);
        let waiting = self.waiting.iter().find(|(_, to)| to.reaches(lane)).map(|(entry, _)| entry.position);
        before([in_flight, waiting]).unwrap_or(self.taken)
    }

    /// Every lane that is with the relay has every event up to this position.
    pub(super) fn published_up_to(&self) -> Position {
        let in_flight = self.in_flight.keys().next().copied();
        let waiting = self.waiting.front().map(|(entry, _)| entry.position);
        before([in_flight, waiting]).unwrap_or(self.taken)
    }

    /// Waits for nothing of lanes that are no longer with the relay. Returns the events that are done with that.
    pub(super) fn see(&mut self, lanes: &Lanes) -> Vec<Flight> {
        let mut done = Vec::new();
        for (position, flight) in &mut self.in_flight {
            if let To::Each(waited_for) = &mut flight.to {
                *waited_for = waited_for.and(lanes.with_relay(*position));
                if waited_for.is_empty() {
                    done.push(*position);
                }
            }
        }
        done.into_iter().filter_map(|position| self.land(position)).collect()
    }

    /// When the oldest message to this lane by itself was published that is not confirmed.
    pub(super) fn oldest_to(&self, lane: usize) -> Option<Instant> {
        let to = self.in_flight.values().filter(|flight| flight.to != To::All && flight.to.reaches(lane));
        to.map(|flight| flight.published_at).min()
    }

    /// When the oldest event in flight was published.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.in_flight.values().map(|flight| flight.published_at).min()
    }

    /// The events that went to all queues longer ago than this, in their order.
    pub(super) fn slow(&self, now: Instant, than: Duration) -> Vec<Position> {
        let slow = |flight: &Flight| flight.to == To::All && now.saturating_duration_since(flight.published_at) > than;
        self.in_flight.iter().filter(|(_, flight)| slow(flight)).map(|(position, _)| *position).collect()
    }

    /// Whether some event goes to each queue by itself at the moment.
    pub(super) fn is_probing(&self) -> bool {
        let each = |to: &To| *to != To::All;
        self.in_flight.values().any(|flight| each(&flight.to)) || self.waiting.iter().any(|(_, to)| each(to))
    }

    /// The session is lost: what it left unconfirmed is published again, in the old order. If there was no answer,
    /// the next session asks with one event.
    pub(super) fn session_lost(&mut self, unanswered: bool) {
        let unconfirmed = std::mem::take(&mut self.in_flight);
        self.bytes_in_flight = 0;
        self.waiting.extend(unconfirmed.into_values().map(|flight| (flight.entry, flight.to)));
        self.waiting.make_contiguous().sort_unstable_by_key(|(entry, _)| entry.position);
        self.most = if unanswered { 1 } else { WINDOW };
    }

    /// The events that are published and not confirmed.
    pub(super) fn unconfirmed(&self) -> impl Iterator<Item = &OutboxEntry> {
        self.in_flight.values().map(|flight| &flight.entry)
    }

    fn land(&mut self, position: Position) -> Option<Flight> {
        let flight = self.in_flight.remove(&position)?;
        self.bytes_in_flight -= flight.entry.body.len();
        Some(flight)
    }
}

/// The position before the first of these.
fn before<const N: usize>(positions: [Option<Position>; N]) -> Option<Position> {
    positions.into_iter().flatten().min().map(|first| first.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use common::{event::EventId, order::OrderId, trace_context::TraceParent};
    use store::{Backlog, testing::names};

    use super::*;
    use crate::outbox::lanes::Cause;

    const NORTH: usize = 0;
    const SOUTH: usize = 1;

    fn outbox() -> Outbox {
        Outbox::new(&Backlog::default(), &names(["north", "south"]), 1_000)
    }

    fn entry(position: Position) -> OutboxEntry {
        OutboxEntry {
            position,
            event_id: EventId::fresh(),
            order_id: OrderId::new(),
            correlation_id: String::new(),
            trace: TraceParent::root(),
            accepted_at: common::event::now(),
            body: bytes::Bytes::from_static(b"{}"),
            lacking: None,
        }
    }

    /// A window that has published as many events as there are, each to all queues.
    fn published(outbox: &Outbox, events: u64) -> Window {
        outbox.hand_over((1..=events).map(entry).collect());
        let mut window = Window::new(0);
        while let Some((entry, to)) = window.next(outbox) {
            window.sent(entry, to);
        }
        window
    }

    fn all(position: Position) -> Sent {
        Sent { position, lane: None }
    }

    fn one(position: Position, lane: usize) -> Sent {
        Sent { position, lane: Some(lane) }
    }

    fn next(window: &mut Window, outbox: &Outbox) -> Option<(Position, To)> {
        let (entry, to) = window.next(outbox)?;
        let position = entry.position;
        window.sent(entry, to);
        Some((position, to))
    }

    #[test]
    fn what_is_confirmed_by_all_queues_is_published() {
        let outbox = outbox();
        let mut window = published(&outbox, 3);
        assert_eq!((window.published_up_to(), window.in_flight()), (0, 3));
        assert!(window.confirmed(all(2)).is_some() && window.confirmed(all(2)).is_none());
        assert_eq!(window.published_up_to(), 0);
        assert!(window.confirmed(all(1)).is_some());
        assert_eq!(window.published_up_to(), 2);
        assert!(window.confirmed(all(3)).is_some() && window.is_empty());
        assert_eq!(window.published_up_to(), 3);
    }

    #[test]
    fn what_one_queue_refuses_goes_to_each_by_itself_and_holds_up_only_that_one() {
        let outbox = outbox();
        let mut window = published(&outbox, 3);
        let both: LaneSet = [NORTH, SOUTH].into_iter().collect();
        window.confirmed(all(1));
        window.apart(2, outbox.lanes());
        assert_eq!(next(&mut window, &outbox), Some((2, To::Each(both))));
        assert!(window.confirmed(one(2, SOUTH)).is_none(), "north has not got it");
        // North refuses it.
        assert_eq!((window.complete_up_to(NORTH), window.complete_up_to(SOUTH)), (1, 2));
        assert!(outbox.falls_behind(NORTH, window.complete_up_to(NORTH), Cause::Full));
        let done: Vec<_> =
            window.see(outbox.lanes()).iter().map(|flight| (flight.entry.position, flight.heard_of)).collect();
        assert_eq!(done, [(2, true)], "the event is published for those that are with the relay");
        assert_eq!(window.published_up_to(), 2);
        // What was under way to all then goes to the other alone.
        window.apart(3, outbox.lanes());
        assert_eq!(next(&mut window, &outbox), Some((3, To::Each([SOUTH].into_iter().collect()))));
        assert!(window.confirmed(one(3, SOUTH)).is_some() && window.is_empty());
        outbox.lanes().relay_published(window.published_up_to());
        assert_eq!(outbox.lanes().marks().0, 1);
    }

    #[test]
    fn a_late_confirm_of_all_queues_counts() {
        let outbox = outbox();
        let mut window = published(&outbox, 2);
        window.apart(1, outbox.lanes());
        assert!(window.confirmed(all(1)).is_some(), "while it waits to be published again");
        window.apart(2, outbox.lanes());
        next(&mut window, &outbox);
        assert!(window.confirmed(all(2)).is_some() && window.is_empty(), "while it is in flight again");
    }

    #[test]
    fn a_lost_session_leaves_nothing_out_and_publishes_only_where_it_is_lacking() {
        let outbox = outbox();
        let mut window = published(&outbox, 3);
        window.apart(2, outbox.lanes());
        next(&mut window, &outbox);
        window.confirmed(one(2, NORTH));
        window.session_lost(true);
        let south = To::Each([SOUTH].into_iter().collect());
        assert_eq!(next(&mut window, &outbox), Some((1, To::All)));
        assert_eq!(next(&mut window, &outbox), None, "one event asks whether there is an answer");
        window.confirmed(all(1));
        assert_eq!(next(&mut window, &outbox), Some((2, south)));
        assert_eq!(next(&mut window, &outbox), Some((3, To::All)));
    }

    #[test]
    fn what_has_ended_at_a_destination_is_not_published_there_again() {
        let outbox = outbox();
        let mut window = Window::new(1);
        let lacking = |position, names: &[&str]| OutboxEntry {
            lacking: Some(names.iter().map(|name| name.parse().unwrap()).collect()),
            ..entry(position)
        };
        let entries = vec![
            lacking(1, &["north"]),
            lacking(2, &["south", "north"]),
            lacking(3, &["south"]),
            lacking(4, &["gone"]),
        ];
        window.take(entries, outbox.lanes());
        assert_eq!(next(&mut window, &outbox), Some((2, To::All)));
        assert_eq!(next(&mut window, &outbox), Some((3, To::Each([SOUTH].into_iter().collect()))));
        assert_eq!(next(&mut window, &outbox), Some((4, To::Each(LaneSet::default()))));
        assert_eq!(window.taken, 4);
    }
}
