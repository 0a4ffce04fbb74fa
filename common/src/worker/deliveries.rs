//! The deliveries that a worker has in hand, and the outcomes that it knows. They outlive a connection.
//!
//! A delivery in hand is *ready* to be called, being *called*, or *waiting* for its next attempt. When a
//! connection is lost, the broker delivers the same messages again, perhaps to another worker. A delivery
//! without a message is not called; it goes on where it was when its message comes back. One whose outcome is
//! known is only reported again, so that a restart of the broker causes no second call.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    broker::delivery::Unsettled,
    event::{EventId, Identity, OrderCreated},
    outcome::{Attempt, Outcome, OutcomeStatus},
    retry::Delays,
    trace_context::TraceParent,
};

/// How many outcomes of settled deliveries are remembered, in about half a megabyte: when the relay loses
/// its connection, it publishes up to 512 events again, which must not cause further calls.
const REMEMBERED: usize = 1_024;

/// Identifies a delivery of an event: the first one, or the redrive of a dead letter. Each has its own
/// outcome: a redrive is attempted, whatever the outcome of the first delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DeliveryId {
    pub(super) event: EventId,
    pub(super) dead_letter: Option<Uuid>,
}

impl From<&Outcome> for DeliveryId {
    fn from(outcome: &Outcome) -> Self {
        Self { event: outcome.event_id, dead_letter: outcome.dead_letter }
    }
}

/// A delivery in hand.
#[derive(Debug)]
pub(super) struct InHand {
    pub(super) order: Arc<OrderCreated>,
    /// The body of its message, unchanged.
    pub(super) body: Vec<u8>,
    pub(super) trace: TraceParent,
    /// Whether it may wait in the store.
    pub(super) takes_waits: bool,
    /// What has to be settled: usually one message, more if the relay published twice, none after the
    /// connection was lost.
    pub(super) unsettled: Vec<Unsettled>,
    /// The attempts that this worker made, oldest first.
    pub(super) attempts: Vec<Attempt>,
    /// How many of them were reported.
    pub(super) reported: usize,
    /// How many attempts count, those of other workers included.
    pub(super) spent: u32,
    /// Whether an attempt had no answer.
    pub(super) unanswered: bool,
    pub(super) delays: Delays,
    /// When it expires.
    pub(super) retry_until: Timestamp,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Called,
    /// Until then. The number makes it unique among those that wait until the same moment.
    Waiting(Instant, u64),
    /// Its message is gone, and nothing is done until it comes back.
    Stranded,
}

impl InHand {
    fn identity(&self) -> Identity {
        let OrderCreated { event_id, order_id, correlation_id, .. } = &*self.order;
        Identity { event_id: *event_id, order_id: *order_id, correlation_id: correlation_id.clone() }
    }

    /// Whether it was ever attempted, by this worker or another one.
    pub(super) fn is_attempted(&self) -> bool {
        !self.attempts.is_empty() || self.spent > 0
    }
}

/// What a message brings along.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) order: Arc<OrderCreated>,
    pub(super) body: Vec<u8>,
    pub(super) trace: TraceParent,
    pub(super) takes_waits: bool,
    pub(super) spent: u32,
    pub(super) unanswered: bool,
    pub(super) delays: Delays,
    pub(super) retry_until: Timestamp,
}

/// Deliveries in hand and known outcomes.
#[derive(Debug)]
pub(super) struct Deliveries {
    in_hand: HashMap<DeliveryId, InHand>,
    ready: VecDeque<DeliveryId>,
    waiting: BTreeMap<(Instant, u64), DeliveryId>,
    numbers: u64,
    /// Of the bodies in hand.
    bytes: usize,
    known: HashMap<DeliveryId, Known>,
    /// The known ones, oldest first.
    known_since: VecDeque<DeliveryId>,
    /// The most outcomes that are remembered.
    max_known: usize,
}

#[derive(Debug)]
struct Known {
    outcome: Arc<Outcome>,
    /// Whether a message of it was settled.
    settled: bool,
}

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Nothing: its delivery is in hand, and it will be settled with it.
    InHand,
    /// Report this outcome, which is known.
    Known(Unsettled, Arc<Outcome>),
    /// Put the delivery in hand.
    New(Unsettled),
}

/// A delivery that the process leaves unsettled when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) identity: Identity,
    /// How far it was, worded for the person on call.
    pub(super) state: &'static str,
}

impl Deliveries {
    /// For at most `prefetch` unsettled messages at a time. The outcome of an unsettled delivery must be
    /// remembered, however many others end in the meantime.
    pub(super) fn new(prefetch: usize) -> Self {
        Self {
            in_hand: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            numbers: 0,
            bytes: 0,
            known: HashMap::new(),
            known_since: VecDeque::new(),
            max_known: 2 * prefetch + REMEMBERED,
        }
    }

    /// How many are in hand.
    pub(super) fn len(&self) -> usize {
        self.in_hand.len()
    }

    /// How many wait for their next attempt.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The bytes of the bodies in hand.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one can be called at once.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When the next wait ends.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((until, _), _)| *until)
    }

    /// Forgets the messages of a lost connection, which can no longer be settled. What was stranded by an
    /// earlier loss and has not come back is with another worker, or ended.
    pub(super) fn connection_lost(&mut self) {
        self.ready.clear();
        self.waiting.clear();
        self.in_hand.retain(|_, delivery| delivery.state != State::Stranded);
        for delivery in self.in_hand.values_mut() {
            delivery.unsettled.clear();
            if delivery.state != State::Called {
                delivery.state = State::Stranded;
            }
        }
        self.bytes = self.in_hand.values().map(|delivery| delivery.body.len()).sum();
    }

    /// Decides what to do with a message of this delivery.
    pub(super) fn admit(&mut self, id: DeliveryId, redelivered: bool, unsettled: Unsettled) -> Admission {
        if let Some(delivery) = self.in_hand.get_mut(&id) {
            delivery.unsettled.push(unsettled);
            if delivery.state == State::Stranded {
                delivery.state = State::Ready;
                self.ready.push_back(id);
            }
            return Admission::InHand;
        }
        match self.known.get(&id) {
            // A dead letter that is not a redelivery was sent again on purpose, and has to be attempted again.
            Some(Known { outcome, .. }) if redelivered || outcome.status == OutcomeStatus::Delivered => {
                Admission::Known(unsettled, Arc::clone(outcome))
            }
            _ => Admission::New(unsettled),
        }
    }

    /// Puts a delivery in hand, ready to be called.
    pub(super) fn begin(&mut self, id: DeliveryId, arrived: Arrived, unsettled: Unsettled) {
        let Arrived { order, body, trace, takes_waits, spent, unanswered, delays, retry_until } = arrived;
        self.bytes += body.len();
        let delivery = InHand {
            order,
            body,
            trace,
            takes_waits,
            unsettled: vec![unsettled],
            attempts: Vec::with_capacity(1),
            reported: 0,
            spent,
            unanswered,
            delays,
            retry_until,
            state: State::Ready,
        };
        self.in_hand.insert(id, delivery);
        self.ready.push_back(id);
    }

    /// Makes those ready whose wait is over. They come before new ones.
    pub(super) fn wake(&mut self, now: Instant) {
        let mut at = 0;
        while self.wakes_at().is_some_and(|until| until <= now)
            && let Some((_, id)) = self.waiting.pop_first()
        {
            if let Some(delivery) = self.in_hand.get_mut(&id) {
                delivery.state = State::Ready;
                self.ready.insert(at, id);
                at += 1;
            }
        }
    }

    /// The next one that is ready. It counts as being called from now on.
    pub(super) fn next_ready(&mut self) -> Option<(DeliveryId, &mut InHand)> {
        while let Some(id) = self.ready.pop_front() {
            if self.in_hand.contains_key(&id) {
                let delivery = self.in_hand.get_mut(&id)?;
                delivery.state = State::Called;
                return Some((id, delivery));
            }
        }
        None
    }

    /// The delivery with this id.
    pub(super) fn get_mut(&mut self, id: DeliveryId) -> Option<&mut InHand> {
        self.in_hand.get_mut(&id)
    }

    /// Lets a delivery wait.
    pub(super) fn wait(&mut self, id: DeliveryId, until: Instant) {
        let Some(delivery) = self.in_hand.get_mut(&id) else { return };
        if delivery.unsettled.is_empty() {
            delivery.state = State::Stranded;
            return;
        }
        self.numbers += 1;
        delivery.state = State::Waiting(until, self.numbers);
        self.waiting.insert((until, self.numbers), id);
    }

    /// Takes a delivery out of hand.
    pub(super) fn take(&mut self, id: DeliveryId) -> Option<InHand> {
        let delivery = self.in_hand.remove(&id)?;
        self.bytes -= delivery.body.len();
        if let State::Waiting(until, number) = delivery.state {
            self.waiting.remove(&(until, number));
        }
        Some(delivery)
    }

    /// Those that wait or are ready.
    pub(super) fn idle(&self) -> Vec<DeliveryId> {
        let idle = |delivery: &InHand| matches!(delivery.state, State::Ready | State::Waiting(..));
        self.in_hand.iter().filter(|(_, delivery)| idle(delivery)).map(|(id, _)| *id).collect()
    }

    /// Notes that a message of this delivery was settled. Forgets a dead letter: if it arrives again, somebody
    /// has sent it again.
    pub(super) fn settled(&mut self, outcome: &Outcome) {
        let id = DeliveryId::from(outcome);
        if outcome.status == OutcomeStatus::DeadLettered {
            self.known.remove(&id);
            self.known_since.retain(|known| *known != id);
        } else if let Some(known) = self.known.get_mut(&id) {
            known.settled = true;
        }
    }

    /// Lets go of everything, and returns every unfinished delivery, those that have ended but were not settled
    /// included.
    pub(super) fn abandon(&mut self) -> Vec<Unfinished> {
        let in_hand = self.in_hand.drain().map(|(_, delivery)| {
            let state = match delivery.state {
                State::Called => "an attempt was running",
                State::Ready => "not attempted yet",
                State::Waiting(..) | State::Stranded => "waiting for its next attempt",
            };
            Unfinished { identity: delivery.identity(), state }
        });
        let unsettled = self.known.drain().filter(|(_, known)| !known.settled).map(|(_, Known { outcome, .. })| {
            let Outcome { event_id, order_id, .. } = *outcome;
            let identity = Identity { event_id, order_id, correlation_id: outcome.correlation_id.clone() };
            Unfinished { identity, state: "ended, not settled" }
        });
        let unfinished = in_hand.chain(unsettled).collect();
        self.ready.clear();
        self.waiting.clear();
        self.known_since.clear();
        self.bytes = 0;
        unfinished
    }

    /// Remembers how a delivery ended.
    pub(super) fn remember(&mut self, outcome: &Arc<Outcome>) {
        let known = Known { outcome: Arc::clone(outcome), settled: false };
        let id = DeliveryId::from(&**outcome);
        if self.known.insert(id, known).is_none() {
            self.known_since.push_back(id);
        }
        while self.known_since.len() > self.max_known {
            if let Some(oldest) = self.known_since.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{
        event::now,
        order::{CorrelationId, OrderId},
        outcome::Reason,
    };

    fn identity() -> Identity {
        Identity { event_id: EventId::fresh(), order_id: OrderId::new(), correlation_id: CorrelationId::fresh() }
    }

    fn ended(identity: &Identity, reason: Option<Reason>) -> Arc<Outcome> {
        Arc::new(Outcome {
            event_id: identity.event_id,
            order_id: identity.order_id,
            correlation_id: identity.correlation_id.clone(),
            destination: "north".parse().unwrap(),
            status: if reason.is_none() { OutcomeStatus::Delivered } else { OutcomeStatus::DeadLettered },
            reason: reason.map(Into::into),
            attempts: Vec::new(),
            settled_at: now(),
            dead_letter: None,
        })
    }

    fn arrived(identity: &Identity) -> Arrived {
        let json = json!({
            "event_type": "OrderCreated", "event_id": identity.event_id, "order_id": identity.order_id,
            "customer_id": "c-1", "items": [{"product_id": "p-1", "qty": 1}],
            "correlation_id": identity.correlation_id, "occurred_at": now(),
        });
        Arrived {
            order: serde_json::from_value::<OrderCreated>(json).unwrap().into(),
            body: vec![0; 100],
            trace: TraceParent::root(),
            takes_waits: true,
            spent: 0,
            unanswered: false,
            delays: Delays::endless(Duration::from_secs(1), Duration::from_secs(1)),
            retry_until: Timestamp::MAX,
        }
    }

    fn first(event: EventId) -> DeliveryId {
        DeliveryId { event, dead_letter: None }
    }

    fn unsettled(tag: u64) -> Unsettled {
        Unsettled::for_test(tag)
    }

    /// A delivery in hand that is being called.
    fn begin(deliveries: &mut Deliveries, identity: &Identity, tag: u64) -> DeliveryId {
        let id = first(identity.event_id);
        deliveries.begin(id, arrived(identity), unsettled(tag));
        assert_eq!(deliveries.next_ready().map(|(id, _)| id), Some(id));
        id
    }

    /// What is left to settle of a delivery that has ended.
    fn end(deliveries: &mut Deliveries, id: DeliveryId, outcome: &Arc<Outcome>) -> Vec<Unsettled> {
        let unsettled = deliveries.take(id).unwrap().unsettled;
        deliveries.remember(outcome);
        unsettled
    }

    #[test]
    fn a_delivery_begins_once_however_often_its_message_arrives() {
        let mut deliveries = Deliveries::new(4);
        let order = identity();
        let id = first(order.event_id);
        assert_eq!(deliveries.admit(id, false, unsettled(1)), Admission::New(unsettled(1)));
        begin(&mut deliveries, &order, 1);
        assert_eq!(deliveries.admit(id, false, unsettled(2)), Admission::InHand);
        deliveries.connection_lost();
        assert_eq!(deliveries.admit(id, true, unsettled(1)), Admission::InHand);
        let outcome = ended(&order, None);
        let settleable = end(&mut deliveries, id, &outcome);
        assert_eq!(settleable, [unsettled(1)], "what came over the lost connection cannot be settled");
        assert_eq!(deliveries.admit(id, false, unsettled(3)), Admission::Known(unsettled(3), outcome));
    }

    #[test]
    fn those_whose_wait_is_over_come_first_in_the_order_of_their_waits() {
        let mut deliveries = Deliveries::new(4);
        let orders: [Identity; 3] = std::array::from_fn(|_| identity());
        let ids: Vec<_> = orders.iter().zip(1..).map(|(order, tag)| begin(&mut deliveries, order, tag)).collect();
        let (now, later) = (Instant::now(), Duration::from_secs(1));
        deliveries.wait(ids[1], now + later);
        deliveries.wait(ids[0], now + 2 * later);
        deliveries.wait(ids[2], now + 3 * later);
        let fresh = identity();
        deliveries.begin(first(fresh.event_id), arrived(&fresh), unsettled(9));
        assert_eq!((deliveries.wakes_at(), deliveries.waiting(), deliveries.bytes()), (Some(now + later), 3, 400));
        deliveries.wake(now + 2 * later);
        let order: Vec<_> = std::iter::from_fn(|| deliveries.next_ready().map(|(id, _)| id)).collect();
        assert_eq!(order, [ids[1], ids[0], first(fresh.event_id)]);
        assert!(deliveries.take(ids[2]).is_some());
        assert_eq!((deliveries.wakes_at(), deliveries.len(), deliveries.bytes()), (None, 3, 300));
    }

    #[test]
    fn without_its_message_a_delivery_is_not_called_until_the_message_comes_back() {
        let mut deliveries = Deliveries::new(4);
        let orders: [Identity; 2] = std::array::from_fn(|_| identity());
        let [waiting, called] = orders.each_ref().map(|order| begin(&mut deliveries, order, 1));
        deliveries.wait(waiting, Instant::now());
        deliveries.connection_lost();
        deliveries.wait(called, Instant::now());
        deliveries.wake(Instant::now() + Duration::from_secs(1));
        assert!(deliveries.next_ready().is_none() && deliveries.wakes_at().is_none());
        assert_eq!(deliveries.admit(waiting, true, unsettled(5)), Admission::InHand);
        assert_eq!(deliveries.next_ready().map(|(id, _)| id), Some(waiting));
        deliveries.connection_lost();
        assert_eq!(deliveries.len(), 1, "the other one did not come back");
    }

    #[test]
    fn a_settled_dead_letter_begins_again_when_it_is_sent_again() {
        let mut deliveries = Deliveries::new(4);
        let order = identity();
        let outcome = ended(&order, Some(Reason::Rejected));
        let id = begin(&mut deliveries, &order, 1);
        end(&mut deliveries, id, &outcome);
        let redelivered = deliveries.admit(id, true, unsettled(2));
        assert_eq!(redelivered, Admission::Known(unsettled(2), Arc::clone(&outcome)));
        deliveries.settled(&outcome);
        assert_eq!(deliveries.admit(id, false, unsettled(3)), Admission::New(unsettled(3)));
    }

    #[test]
    fn an_abandoned_delivery_is_named_with_how_far_it_was() {
        let mut deliveries = Deliveries::new(4);
        let orders: [Identity; 4] = std::array::from_fn(|_| identity());
        let [settled, unreported, waiting, called] = orders.clone();
        for order in [&settled, &unreported] {
            let id = begin(&mut deliveries, order, 1);
            end(&mut deliveries, id, &ended(order, None));
        }
        deliveries.settled(&ended(&settled, None));
        let id = begin(&mut deliveries, &waiting, 3);
        deliveries.wait(id, Instant::now());
        begin(&mut deliveries, &called, 4);
        let left: Vec<_> = deliveries.abandon().into_iter().map(|left| (left.identity, left.state)).collect();
        let expected = [
            (called, "an attempt was running"),
            (waiting, "waiting for its next attempt"),
            (unreported, "ended, not settled"),
        ];
        assert_eq!(left.len(), expected.len());
        assert!(expected.iter().all(|expected| left.contains(expected)), "{left:?}");
        assert_eq!((deliveries.len(), deliveries.waiting(), deliveries.bytes()), (0, 0, 0));
    }

    #[test]
    fn the_number_of_remembered_outcomes_is_bounded() {
        let mut deliveries = Deliveries::new(4);
        let orders: Vec<_> = (0..REMEMBERED + 9).map(|_| identity()).collect();
        orders.iter().for_each(|order| deliveries.remember(&ended(order, None)));
        let known = |order: &Identity| deliveries.known.contains_key(&first(order.event_id));
        assert_eq!(orders.iter().filter(|order| !known(order)).count(), 1);
        assert!(!known(&orders[0]));
    }

    #[test]
    fn a_redrive_begins_whatever_the_first_outcome_and_has_its_own() {
        for reason in [None, Some(Reason::Rejected)] {
            let mut deliveries = Deliveries::new(4);
            let (order, dead_letter) = (identity(), Some(Uuid::now_v7()));
            let redrive = DeliveryId { event: order.event_id, dead_letter };
            let id = begin(&mut deliveries, &order, 1);
            assert_eq!(deliveries.admit(redrive, false, unsettled(2)), Admission::New(unsettled(2)));
            end(&mut deliveries, id, &ended(&order, reason));
            for (tag, redelivered) in [(3, false), (4, true)] {
                let admission = deliveries.admit(redrive, redelivered, unsettled(tag));
                assert_eq!(admission, Admission::New(unsettled(tag)), "{reason:?}");
            }
            let outcome = Arc::new(Outcome { dead_letter, ..(*ended(&order, None)).clone() });
            deliveries.begin(redrive, arrived(&order), unsettled(5));
            assert_eq!(deliveries.admit(redrive, true, unsettled(6)), Admission::InHand);
            end(&mut deliveries, redrive, &outcome);
            assert_eq!(deliveries.admit(redrive, false, unsettled(7)), Admission::Known(unsettled(7), outcome));
        }
    }
}
