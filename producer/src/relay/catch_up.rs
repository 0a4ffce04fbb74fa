//! Catching up a destination that has fallen behind: from the table, through its own queue, over a connection that
//! no other destination waits for.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use common::{
    broker::{
        Broker, BrokerFault,
        publisher::{Publisher, Target},
    },
    destination::Name,
    health::{self, Component},
    retry::Delays,
    timer,
};
use store::{Desk, OutboxEntry, Position, StoreFault};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    BLOCKED,
    marker::Marker,
    message,
    metrics::RelayMetrics,
    page::{PAGE, Page, Reading},
    window::{WINDOW, WINDOW_BYTES},
};
use crate::{
    app::Context,
    outbox::{
        Outbox,
        lanes::{Cause, Place},
    },
};

/// The pause before a queue that refuses events, or does not confirm them, is tried again. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// For this long its queue has to take what it is sent before the lane joins the others: one that takes an event now and
/// then would fall behind with each order.
const JOINS_AFTER: Duration = Duration::from_secs(5);
/// The longest pause before the broker itself is tried again.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What catches one destination up, whenever it has fallen behind.
pub(crate) struct CatchUp {
    lane: usize,
    destination: Name,
    queue: Target,
    broker: Broker,
    grace: Duration,
    outbox: Arc<Outbox>,
    desk: Desk,
    marker: Marker,
    metrics: RelayMetrics,
    pauses: Delays,
    /// When the queue is tried again.
    retry_at: Option<Instant>,
    last_fault: String,
}

/// The events that the destination is about to get.
#[derive(Default)]
struct Hand {
    /// The last event that was read.
    read_up_to: Position,
    /// Whether little is left in the table.
    near: bool,
    waiting: VecDeque<OutboxEntry>,
    in_flight: BTreeMap<Position, OutboxEntry>,
    bytes_in_flight: usize,
    /// How many may be in flight: it grows as long as the queue takes them.
    window: usize,
    /// Since when the queue has refused nothing, as far as is known.
    taking_since: Option<Instant>,
    /// Whether the lane joins.
    joins: bool,
}

/// Why a session ended without a fault.
enum End {
    Level,
    Shutdown,
}

impl CatchUp {
    /// What catches up this lane.
    pub(crate) fn new(context: &Context, lane: usize, destination: Name, metrics: RelayMetrics) -> Self {
        Self {
            lane,
            queue: Target::Queue(context.broker.names().queue(&destination)),
            destination,
            broker: context.broker.clone(),
            grace: context.grace,
            outbox: Arc::clone(&context.outbox),
            desk: context.desk.clone(),
            marker: Marker::new(Arc::clone(&context.outbox), context.writes.clone()),
            metrics,
            pauses: Delays::endless(FIRST_PAUSE, LONGEST_PAUSE),
            retry_at: None,
            last_fault: String::new(),
        }
    }

    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, component: Component, shutdown: CancellationToken) {
        while self.is_needed(&component, &shutdown).await {
            match self.session(&component, &shutdown).await {
                Ok(()) => self.last_fault.clear(),
                Err(fault) => self.failed(&fault),
            }
        }
    }

    /// Waits until the lane is behind and may be tried. Returns false on `shutdown`.
    async fn is_needed(&mut self, component: &Component, shutdown: &CancellationToken) -> bool {
        let mut health_tick = health::ticks();
        let outbox = Arc::clone(&self.outbox);
        loop {
            let behind = !matches!(outbox.lanes().place(self.lane), Place::Level { .. });
            if behind && self.retry_at.is_none() {
                return !shutdown.is_cancelled();
            }
            let (retry_at, mark_at) = (self.retry_at, self.marker.at());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return false,
                () = outbox.lanes().changed(self.lane) => {}
                () = timer::at(retry_at) => self.retry_at = None,
                () = timer::at(mark_at) => self.marker.commit(),
                _ = health_tick.tick() => self.report_health(component, false, None),
            }
        }
    }

    async fn session(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        let mut publisher = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            opened = Publisher::open(&self.broker) => opened?,
        };
        let mut hand =
            Hand { read_up_to: self.has_up_to(), window: 1, taking_since: Some(Instant::now()), ..Hand::default() };
        match self.catch_up(&mut publisher, &mut hand, component, shutdown).await? {
            End::Level => publisher.close().await,
            End::Shutdown => self.drain(publisher, hand, component).await?,
        }
        Ok(())
    }

    async fn catch_up(
        &mut self,
        publisher: &mut Publisher<Position>,
        hand: &mut Hand,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> Result<End, BrokerFault> {
        let outbox = Arc::clone(&self.outbox);
        let mut reading = Reading::default();
        let mut read_fault = None;
        let mut health_tick = health::ticks();
        loop {
            self.fill(publisher, hand);
            let place = outbox.lanes().place(self.lane);
            hand.see(place);
            match place {
                Place::Level { .. } => return Ok(End::Level),
                Place::Joining { at, .. } if hand.read_up_to >= at && hand.is_empty() => {
                    outbox.lanes().progresses(self.lane, at, 0);
                    outbox.lanes().arrives(self.lane);
                    self.marker.mark();
                    return Ok(End::Level);
                }
                Place::Behind { asks: None, .. } if hand.may_join() => {
                    outbox.lanes().asks_to_join(self.lane, hand.read_up_to);
                }
                // The relay answers where it joins.
                Place::Behind { asks: Some(_), .. } => {}
                _ => {
                    let wanted = match place {
                        Place::Joining { at, .. } => hand.read_up_to < at,
                        _ => !hand.near,
                    };
                    if wanted && !reading.is_running() && self.retry_at.is_none() && hand.wants_more() {
                        let destination = Some(self.destination.clone());
                        reading.start(&self.desk, destination, hand.read_up_to, outbox.committed());
                    }
                }
            }
            let (retry_at, mark_at) = (self.retry_at, self.marker.at());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(End::Shutdown),
                _ = health_tick.tick() => {
                    publisher.check()?;
                    // What was accepted since is in the table.
                    hand.near = false;
                    self.report_health(component, publisher.blocked(), read_fault.as_ref());
                }
                resolved = publisher.resolved() => {
                    let resolved = resolved?;
                    self.confirmed(hand, &resolved.confirmed);
                    self.refused(hand, &resolved.refused);
                }
                read = reading.done() => match read {
                    Ok(page) => {
                        read_fault = None;
                        self.take(hand, page);
                    }
                    Err(fault) => {
                        if read_fault.as_ref() != Some(&fault) {
                            tracing::error!(%fault, "the outbox cannot be read, trying again");
                        }
                        read_fault = Some(fault);
                    }
                },
                () = outbox.lanes().changed(self.lane) => {}
                () = timer::at(retry_at) => self.retry_at = None,
                () = timer::at(mark_at) => self.marker.commit(),
            }
        }
    }

    fn fill(&self, publisher: &mut Publisher<Position>, hand: &mut Hand) {
        while self.retry_at.is_none() && hand.has_room() {
            let Some(entry) = hand.waiting.pop_front() else { return };
            publisher.publish(&self.queue, message(&entry), entry.position);
            hand.bytes_in_flight += entry.body.len();
            hand.in_flight.insert(entry.position, entry);
        }
    }

    fn take(&self, hand: &mut Hand, Page { entries, up_to }: Page) {
        // While it joins, what comes later comes from the relay.
        let end = match self.outbox.lanes().place(self.lane) {
            Place::Joining { at, .. } => at,
            _ => Position::MAX,
        };
        hand.near = entries.len() < PAGE as usize / 2;
        let last = entries.last().map_or(up_to, |entry| entry.position);
        hand.waiting.extend(entries.into_iter().filter(|entry| entry.position <= end));
        hand.read_up_to = hand.read_up_to.max(last.min(end));
    }

    fn confirmed(&mut self, hand: &mut Hand, confirmed: &[Position]) {
        if confirmed.is_empty() {
            return;
        }
        for entry in confirmed.iter().filter_map(|position| hand.land(*position)) {
            tracing::debug!(
                order_id = %entry.order_id, correlation_id = entry.correlation_id, destination = %self.destination,
                "published"
            );
        }
        hand.window = (hand.window * 2).min(WINDOW);
        self.pauses = Delays::endless(FIRST_PAUSE, LONGEST_PAUSE);
        self.metrics.caught_up.inc_by(confirmed.len() as u64);
        self.outbox.lanes().progresses(self.lane, hand.complete_up_to(), confirmed.len());
        self.marker.mark();
    }

    fn refused(&mut self, hand: &mut Hand, refused: &[Position]) {
        if refused.is_empty() {
            return;
        }
        self.metrics.refused.inc_by(refused.len() as u64);
        for entry in refused.iter().filter_map(|position| hand.land(*position)).collect::<Vec<_>>() {
            let index = hand.waiting.partition_point(|waiting| waiting.position < entry.position);
            hand.waiting.insert(index, entry);
        }
        hand.window = 1;
        hand.near = false;
        hand.taking_since = Some(Instant::now());
        self.outbox.lanes().is_held_up(self.lane, Cause::Full);
        self.pause(LONGEST_PAUSE);
    }

    /// A session has ended with a fault: the next one begins after a pause, where the lane is.
    fn failed(&mut self, fault: &BrokerFault) {
        if matches!(fault, BrokerFault::Overdue { .. }) {
            self.outbox.lanes().is_held_up(self.lane, Cause::Silent);
            self.pause(LONGEST_PAUSE);
        } else {
            self.pause(RECONNECT_WITHIN);
        }
        let message = fault.to_string();
        if message != self.last_fault {
            let destination = &self.destination;
            tracing::warn!(%destination, fault = message, "the destination is not caught up, trying again");
            self.last_fault = message;
        }
    }

    fn pause(&mut self, longest: Duration) {
        let pause = self.pauses.next_delay().min(longest);
        self.retry_at.get_or_insert_with(|| Instant::now() + pause);
    }

    fn has_up_to(&self) -> Position {
        match self.outbox.lanes().place(self.lane) {
            Place::Behind { up_to, .. } | Place::Joining { up_to, .. } => up_to,
            Place::Level { .. } => self.outbox.lanes().published_by_relay(),
        }
    }

    fn report_health(&self, component: &Component, blocked: bool, read_fault: Option<&StoreFault>) {
        match self.outbox.lanes().place(self.lane) {
            Place::Level { .. } => component.up(),
            _ if blocked => component.down(BLOCKED),
            Place::Behind { cause, .. } | Place::Joining { cause, .. } => {
                let lag = self.outbox.lanes().lag(self.lane);
                component.down(match read_fault {
                    Some(fault) => format!("the outbox cannot be read: {fault}"),
                    None if self.retry_at.is_none() => {
                        format!("it fell behind because {cause}, and catches up; {lag} orders wait for it")
                    }
                    None if self.last_fault.is_empty() => {
                        format!("it is behind because {cause}; {lag} orders wait for it")
                    }
                    None => format!("it is behind, and cannot catch up: {}; {lag} orders wait for it", self.last_fault),
                });
            }
        }
    }

    /// Waits for the confirms of what is in flight, takes nothing new.
    async fn drain(
        &mut self,
        mut publisher: Publisher<Position>,
        mut hand: Hand,
        component: &Component,
    ) -> Result<(), BrokerFault> {
        let deadline = Instant::now() + self.grace;
        let mut health_tick = health::ticks();
        component.down("draining");
        while publisher.in_flight() > 0 {
            tokio::select! {
                biased;
                resolved = publisher.resolved() => self.confirmed(&mut hand, &resolved?.confirmed),
                () = sleep_until(deadline) => break,
                _ = health_tick.tick() => component.sign_of_life(),
            }
        }
        self.marker.commit();
        publisher.close().await;
        Ok(())
    }
}

impl Hand {
    /// Notes where the lane is. If it joined and is behind again, the relay was refused an event.
    fn see(&mut self, place: Place) {
        let joins = matches!(place, Place::Joining { .. });
        if self.joins && !joins {
            self.taking_since = Some(Instant::now());
        }
        self.joins = joins;
    }

    /// Whether the lane is so near to the others that it may join them.
    fn may_join(&self) -> bool {
        let calm = self.taking_since.is_some_and(|since| since.elapsed() >= JOINS_AFTER);
        self.near && self.waiting.is_empty() && calm
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < self.window && self.bytes_in_flight < WINDOW_BYTES
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// The next page is read while half of one is still to be published.
    fn wants_more(&self) -> bool {
        self.waiting.len() < PAGE as usize / 2
    }

    /// Up to where the destination has every event.
    fn complete_up_to(&self) -> Position {
        let in_flight = self.in_flight.keys().next().copied();
        let waiting = self.waiting.front().map(|entry| entry.position);
        let first = [in_flight, waiting].into_iter().flatten().min();
        first.map_or(self.read_up_to, |first| first.saturating_sub(1))
    }

    fn land(&mut self, position: Position) -> Option<OutboxEntry> {
        let entry = self.in_flight.remove(&position)?;
        self.bytes_in_flight -= entry.body.len();
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEHIND: Place = Place::Behind { up_to: 0, cause: Cause::Full, asks: None };
    const JOINING: Place = Place::Joining { up_to: 0, at: 9, cause: Cause::Full };

    fn calm() -> Option<Instant> {
        Instant::now().checked_sub(JOINS_AFTER)
    }

    #[tokio::test]
    async fn a_lane_joins_when_little_is_left_and_its_queue_has_taken_all_for_a_while() {
        let mut hand = Hand { taking_since: Some(Instant::now()), near: true, ..Hand::default() };
        assert!(!hand.may_join(), "its queue has refused something just now");
        hand.taking_since = calm();
        assert!(hand.may_join());
        hand.near = false;
        assert!(!hand.may_join(), "much is left in the table");
    }

    #[tokio::test]
    async fn a_lane_that_joined_and_was_refused_waits_before_it_joins_again() {
        let mut hand = Hand { taking_since: calm(), near: true, ..Hand::default() };
        for place in [BEHIND, JOINING] {
            hand.see(place);
            assert!(hand.may_join(), "{place:?}");
        }
        hand.see(BEHIND);
        assert!(!hand.may_join());
    }
}
