//! The outbox between intake and relay: in memory while all is well, the table after a restart or
//! when memory was not enough.

mod gauges;
pub(crate) mod lanes;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use common::destination::Name;
use tokio::sync::Notify;

pub(crate) use self::gauges::OutboxGauges;
use self::lanes::{Cause, Lanes};
use store::{Backlog, NotAccepted, OutboxEntry, Position};

/// Most events kept in memory for the relay. Beyond it they are read from the table when their
/// turn comes.
const IN_MEMORY: usize = 4_096;
/// Most bytes of events kept in memory: an order can have a quarter of a megabyte.
const IN_MEMORY_BYTES: usize = 8 * 1_024 * 1_024;

/// Hands committed events to the relay, and knows how many are not published.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    committed: AtomicU64,
    /// How many events the relay has not published.
    unpublished: AtomicU64,
    lanes: Lanes,
    limit: u64,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Following>,
    bytes: usize,
}

/// An event, and the position of the one that was committed before it.
#[derive(Debug)]
struct Following {
    after: Position,
    entry: OutboxEntry,
}

impl Queue {
    /// Takes it if there is room; the table has it in any case.
    fn push(&mut self, after: Position, entry: OutboxEntry) {
        let bytes = self.bytes + entry.body.len();
        if self.entries.len() < IN_MEMORY && bytes <= IN_MEMORY_BYTES {
            self.bytes = bytes;
            self.entries.push_back(Following { after, entry });
        }
    }

    fn pop(&mut self) -> Option<OutboxEntry> {
        let Following { entry, .. } = self.entries.pop_front()?;
        self.bytes -= entry.body.len();
        Some(entry)
    }
}

impl Outbox {
    /// An outbox over what a table holds for these destinations. It takes orders while each of them lacks fewer than
    /// `limit` events.
    #[must_use]
    pub(crate) fn new(backlog: &Backlog, destinations: &[Name], limit: u64) -> Self {
        let wake = Arc::new(Notify::new());
        Self {
            queue: Mutex::default(),
            committed: AtomicU64::new(backlog.last),
            unpublished: AtomicU64::new(backlog.events),
            lanes: Lanes::new(destinations, backlog, Arc::clone(&wake)),
            limit,
            wake,
        }
    }

    /// Whether another order may be accepted.
    ///
    /// # Errors
    /// [`NotAccepted::Busy`], or [`NotAccepted::Behind`] if it is for one destination alone that too much waits.
    pub(crate) fn has_room(&self) -> Result<(), NotAccepted> {
        if self.unpublished.load(Ordering::Relaxed) >= self.limit {
            return Err(NotAccepted::Busy);
        }
        self.lanes.behind_by(self.limit).map_or(Ok(()), |destination| Err(NotAccepted::Behind(destination)))
    }

    /// How many events are not published to every destination.
    #[must_use]
    pub(crate) fn backlog(&self) -> u64 {
        self.unpublished.load(Ordering::Relaxed).max(self.lanes.longest())
    }

    /// The lanes of the destinations.
    #[must_use]
    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// How many events each destination lacks because it has fallen behind.
    #[must_use]
    pub(crate) fn lags(&self) -> Vec<(Name, u64)> {
        self.lanes.lags()
    }

    /// A lane, which has what comes up to `up_to`, falls behind the relay. Returns whether it was with it.
    pub(crate) fn falls_behind(&self, lane: usize, up_to: Position, cause: Cause) -> bool {
        self.lanes.falls_behind(lane, up_to, cause, self.unpublished.load(Ordering::Relaxed))
    }

    /// The last event that was committed.
    #[must_use]
    pub(crate) fn committed(&self) -> Position {
        self.committed.load(Ordering::Acquire)
    }

    /// Hands over what one transaction committed, in its order.
    pub(crate) fn hand_over(&self, entries: Vec<OutboxEntry>) {
        if entries.is_empty() {
            return;
        }
        let mut queue = self.lock();
        self.unpublished.fetch_add(entries.len() as u64, Ordering::Relaxed);
        self.lanes.handed_over(entries.len() as u64);
        let mut last = self.committed();
        for entry in entries {
            let after = std::mem::replace(&mut last, entry.position);
            queue.push(after, entry);
        }
        self.committed.store(last, Ordering::Release);
        drop(queue);
        self.wake.notify_one();
    }

    /// Notes that the table holds `events` more, the last of them at this position.
    pub(crate) fn adopt(&self, events: u64, last: Position) {
        if events == 0 {
            return;
        }
        let queue = self.lock();
        self.unpublished.fetch_add(events, Ordering::Relaxed);
        self.lanes.handed_over(events);
        self.committed.fetch_max(last, Ordering::AcqRel);
        drop(queue);
        self.wake.notify_one();
    }

    /// Notes that the relay has published `count` events.
    pub(crate) fn published(&self, count: usize) {
        let count = count as u64;
        // Saturating: a row published twice is only once in the backlog.
        let less = |now: u64| Some(now.saturating_sub(count));
        let _ = self.unpublished.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Notes that everything up to `up_to` was published. Where nothing was committed beyond it, nothing
    /// waits, whatever was counted: what another producer has taken over is counted there.
    pub(crate) fn all_published(&self, up_to: Position) {
        let _queue = self.lock();
        if self.committed() <= up_to {
            self.unpublished.store(0, Ordering::Relaxed);
        }
    }

    /// The next event after `taken`, in the order of commits and without a gap, if it is in memory.
    #[must_use]
    pub(crate) fn next(&self, taken: Position) -> Option<OutboxEntry> {
        let mut queue = self.lock();
        while queue.entries.front().is_some_and(|next| next.entry.position <= taken) {
            queue.pop();
        }
        if queue.entries.front().is_some_and(|next| next.after <= taken) { queue.pop() } else { None }
    }

    /// Whether the next event after `taken` is in the table only: it was committed when memory was
    /// full, or before the start.
    #[must_use]
    pub(crate) fn in_table(&self, taken: Position) -> bool {
        let queue = self.lock();
        match queue.entries.iter().find(|next| next.entry.position > taken) {
            Some(next) => next.after > taken,
            None => self.committed() > taken,
        }
    }

    /// Waits until something is handed over. Cancellation safe.
    pub(crate) async fn handed_over(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use common::{event::EventId, order::OrderId, trace_context::TraceParent};

    use super::*;

    fn entries(positions: impl IntoIterator<Item = Position>) -> Vec<OutboxEntry> {
        let entry = |position| OutboxEntry {
            position,
            event_id: EventId::fresh(),
            order_id: OrderId::new(),
            correlation_id: String::new(),
            trace: TraceParent::root(),
            accepted_at: common::event::now(),
            body: bytes::Bytes::new(),
            lacking: None,
        };
        positions.into_iter().map(entry).collect()
    }

    fn outbox(backlog: &Backlog, limit: u64) -> Outbox {
        Outbox::new(backlog, &store::testing::names(["north", "south"]), limit)
    }

    fn next(outbox: &Outbox, taken: Position) -> Option<Position> {
        outbox.next(taken).map(|entry| entry.position)
    }

    #[test]
    fn events_come_in_order_and_from_memory() {
        let outbox = outbox(&Backlog { last: 7, ..Backlog::default() }, 10);
        assert!(next(&outbox, 7).is_none() && !outbox.in_table(7));
        outbox.hand_over(entries(8..=9));
        assert_eq!(next(&outbox, 7), Some(8));
        assert_eq!(next(&outbox, 8), Some(9));
        assert!(next(&outbox, 9).is_none() && !outbox.in_table(9));
    }

    #[test]
    fn a_place_that_was_never_given_is_no_gap() {
        let outbox = outbox(&Backlog::default(), 10);
        outbox.hand_over(entries([3, 7]));
        outbox.hand_over(entries([12]));
        assert_eq!(next(&outbox, 0), Some(3));
        assert_eq!(next(&outbox, 3), Some(7));
        assert!(!outbox.in_table(7));
        assert_eq!(next(&outbox, 7), Some(12));
    }

    #[test]
    fn what_was_there_before_the_start_is_in_the_table() {
        let outbox = outbox(&Backlog { events: 3, published_up_to: 4, last: 7, ..Backlog::default() }, 10);
        assert!(next(&outbox, 4).is_none() && outbox.in_table(4));
        assert!(next(&outbox, 7).is_none() && !outbox.in_table(7));
    }

    #[test]
    fn what_did_not_fit_into_memory_is_in_the_table_and_nothing_is_skipped() {
        let outbox = outbox(&Backlog::default(), u64::MAX);
        let many = IN_MEMORY as u64 + 10;
        outbox.hand_over(entries(1..=many));
        let mut taken = 0;
        while let Some(position) = next(&outbox, taken) {
            assert_eq!(position, taken + 1);
            taken = position;
        }
        assert_eq!(taken, IN_MEMORY as u64);
        assert!(next(&outbox, taken).is_none() && outbox.in_table(taken));
        // Later ones fit again, and are not taken before those that did not.
        outbox.hand_over(entries(many + 1..=many + 1));
        assert!(next(&outbox, taken).is_none() && outbox.in_table(taken));
        assert_eq!(next(&outbox, many), Some(many + 1));
    }

    #[test]
    fn memory_is_bounded_in_bytes_too() {
        let outbox = outbox(&Backlog::default(), u64::MAX);
        let mut large = entries(1..=40);
        for entry in &mut large {
            entry.body = vec![0; 256 * 1_024].into();
        }
        outbox.hand_over(large);
        let mut taken = 0;
        while let Some(position) = next(&outbox, taken) {
            taken = position;
        }
        assert_eq!(taken, 32);
        assert!(outbox.in_table(taken));
    }

    #[test]
    fn what_was_adopted_is_in_the_table_and_nothing_after_it_is_taken_before() {
        let outbox = outbox(&Backlog::default(), 10);
        outbox.hand_over(entries(1..=2));
        outbox.adopt(3, 5);
        outbox.hand_over(entries([6]));
        assert_eq!(outbox.backlog(), 6);
        assert_eq!((next(&outbox, 0), next(&outbox, 1)), (Some(1), Some(2)));
        assert!(next(&outbox, 2).is_none() && outbox.in_table(2));
        assert_eq!(next(&outbox, 5), Some(6));
    }

    #[test]
    fn what_another_producer_has_taken_over_takes_no_room_for_ever() {
        let outbox = outbox(&Backlog { events: 10, last: 10, ..Backlog::default() }, 10);
        outbox.all_published(9);
        assert_eq!(outbox.has_room(), Err(NotAccepted::Busy));
        outbox.all_published(10);
        assert_eq!(outbox.backlog(), 0);
        outbox.hand_over(entries([11]));
        outbox.all_published(10);
        assert_eq!(outbox.backlog(), 1);
    }

    #[test]
    fn there_is_room_until_the_limit() {
        let outbox = outbox(&Backlog::default(), 2);
        outbox.hand_over(entries(1..=2));
        assert_eq!(outbox.has_room(), Err(NotAccepted::Busy));
        outbox.published(1);
        assert_eq!(outbox.has_room(), Ok(()));
    }

    #[test]
    fn a_destination_that_has_fallen_behind_has_the_whole_limit_and_is_named_beyond_it() {
        let outbox = outbox(&Backlog::default(), 3);
        outbox.hand_over(entries(1..=2));
        assert!(outbox.falls_behind(1, 0, Cause::Full));
        outbox.published(2);
        assert_eq!((outbox.backlog(), outbox.has_room()), (2, Ok(())));
        outbox.hand_over(entries([3]));
        outbox.published(1);
        assert_eq!(outbox.has_room(), Err(NotAccepted::Behind("south".parse().unwrap())));
        outbox.lanes().progresses(1, 1, 1);
        assert_eq!(outbox.has_room(), Ok(()));
    }
}
