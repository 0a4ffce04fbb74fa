//! The deliveries that a worker is working on, and the outcomes that it knows. They outlive a connection.
//!
//! When a connection is lost, the broker delivers the same messages again. A delivery that is still being
//! attempted is not begun a second time, and one whose outcome is known is only reported again, so that a
//! restart of the broker causes no second call.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    broker::delivery::Unsettled,
    event::{EventId, Identity},
    outcome::{Outcome, OutcomeStatus},
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

/// How the work on a delivery ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The outcome is known.
    Finished(Arc<Outcome>),
    /// The process is shutting down. That is not a failure: it is neither reported nor counted, and the message
    /// is delivered again.
    Interrupted(DeliveryId),
}

/// Running attempts and known outcomes.
#[derive(Debug)]
pub(super) struct Deliveries {
    tasks: JoinSet<Ended>,
    running: HashMap<DeliveryId, Running>,
    known: HashMap<DeliveryId, Known>,
    /// The known ones, oldest first.
    known_since: VecDeque<DeliveryId>,
    /// The most outcomes that are remembered.
    max_known: usize,
    /// Interrupted in a back-off by the shutdown.
    interrupted: Vec<Identity>,
}

#[derive(Debug)]
struct Running {
    identity: Identity,
    /// What has to be settled: usually one message, more if the relay published twice, none after the
    /// connection was lost.
    unsettled: Vec<Unsettled>,
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
    /// Nothing: its delivery is being attempted, and it will be settled with it.
    Running,
    /// Report this outcome, which is known.
    Known(Unsettled, Arc<Outcome>),
    /// Begin the delivery.
    Begin(Unsettled),
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
            tasks: JoinSet::new(),
            running: HashMap::new(),
            known: HashMap::new(),
            known_since: VecDeque::new(),
            max_known: 2 * prefetch + REMEMBERED,
            interrupted: Vec::new(),
        }
    }

    /// How many deliveries are being attempted.
    pub(super) fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Forgets the messages of a lost connection, which can no longer be settled.
    pub(super) fn connection_lost(&mut self) {
        self.running.values_mut().for_each(|running| running.unsettled.clear());
    }

    /// Decides what to do with a message of this delivery.
    pub(super) fn admit(&mut self, id: DeliveryId, redelivered: bool, unsettled: Unsettled) -> Admission {
        if let Some(running) = self.running.get_mut(&id) {
            running.unsettled.push(unsettled);
            return Admission::Running;
        }
        match self.known.get(&id) {
            // A dead letter that is not a redelivery was sent again on purpose, and has to be attempted again.
            Some(Known { outcome, .. }) if redelivered || outcome.status == OutcomeStatus::Delivered => {
                Admission::Known(unsettled, Arc::clone(outcome))
            }
            _ => Admission::Begin(unsettled),
        }
    }

    /// Runs the attempts of a delivery.
    pub(super) fn begin(
        &mut self,
        identity: Identity,
        dead_letter: Option<Uuid>,
        unsettled: Unsettled,
        attempts: impl Future<Output = Ended> + Send + 'static,
    ) {
        let id = DeliveryId { event: identity.event_id, dead_letter };
        self.running.insert(id, Running { identity, unsettled: vec![unsettled] });
        self.tasks.spawn(attempts);
    }

    /// Waits for the next delivery to end, and returns its outcome and what has to be settled: nothing if the
    /// connection was lost, because the redelivery finds the outcome known. Returns `None` for an interrupted
    /// one. Never returns while nothing is running.
    ///
    /// Cancellation safe.
    pub(super) async fn finished(&mut self) -> Option<(Arc<Outcome>, Vec<Unsettled>)> {
        match self.tasks.join_next().await {
            Some(Ok(Ended::Finished(outcome))) => {
                let unsettled = self
                    .running
                    .remove(&DeliveryId::from(&*outcome))
                    .map_or_else(Vec::new, |running| running.unsettled);
                self.remember(&outcome);
                Some((outcome, unsettled))
            }
            Some(Ok(Ended::Interrupted(id))) => {
                self.interrupted.extend(self.running.remove(&id).map(|running| running.identity));
                None
            }
            // The task catches panics itself, and is aborted only when the process ends.
            Some(Err(_)) => None,
            None => std::future::pending().await,
        }
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

    /// Aborts what is still running, and returns every unfinished delivery: these, those that were interrupted
    /// before, and those that have ended but were not settled.
    pub(super) async fn abandon(&mut self) -> Vec<Unfinished> {
        self.tasks.shutdown().await;
        let cut = self.running.drain().map(|(_, running)| (running.identity, "an attempt was running"));
        let interrupted = self.interrupted.drain(..).map(|identity| (identity, "backing off"));
        let unsettled = self.known.drain().filter(|(_, known)| !known.settled).map(|(_, Known { outcome, .. })| {
            let Outcome { event_id, order_id, .. } = *outcome;
            (Identity { event_id, order_id, correlation_id: outcome.correlation_id.clone() }, "ended, not settled")
        });
        self.known_since.clear();
        cut.chain(interrupted).chain(unsettled).map(|(identity, state)| Unfinished { identity, state }).collect()
    }

    fn remember(&mut self, outcome: &Arc<Outcome>) {
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
    use super::*;
    use crate::{
        event::now,
        order::{CorrelationId, OrderId},
        outcome::Reason,
    };

    fn identity() -> Identity {
        Identity { event_id: EventId::fresh(), order_id: OrderId::new(), correlation_id: CorrelationId::fresh() }
    }

    fn ended(identity: &Identity, reason: Option<Reason>) -> Ended {
        Ended::Finished(Arc::new(Outcome {
            event_id: identity.event_id,
            order_id: identity.order_id,
            correlation_id: identity.correlation_id.clone(),
            destination: "north".parse().unwrap(),
            status: if reason.is_none() { OutcomeStatus::Delivered } else { OutcomeStatus::DeadLettered },
            reason,
            attempts: Vec::new(),
            settled_at: now(),
            dead_letter: None,
        }))
    }

    fn first(event: EventId) -> DeliveryId {
        DeliveryId { event, dead_letter: None }
    }

    fn unsettled(tag: u64) -> Unsettled {
        Unsettled::for_test(tag)
    }

    #[tokio::test]
    async fn a_delivery_begins_once_however_often_its_message_arrives() {
        let mut deliveries = Deliveries::new(4);
        let order = identity();
        assert_eq!(deliveries.admit(first(order.event_id), false, unsettled(1)), Admission::Begin(unsettled(1)));
        let (finish, finished) = tokio::sync::oneshot::channel();
        let end = ended(&order, None);
        deliveries.begin(order.clone(), None, unsettled(1), async move {
            let _ = finished.await;
            end
        });
        assert_eq!(deliveries.admit(first(order.event_id), false, unsettled(2)), Admission::Running);
        deliveries.connection_lost();
        assert_eq!(deliveries.admit(first(order.event_id), true, unsettled(1)), Admission::Running);
        let _ = finish.send(());
        let Some((outcome, settleable)) = deliveries.finished().await else { panic!("interrupted") };
        assert_eq!(settleable, [unsettled(1)], "what came over the lost connection cannot be settled");
        let again = deliveries.admit(first(order.event_id), false, unsettled(3));
        assert_eq!(again, Admission::Known(unsettled(3), outcome));
    }

    #[tokio::test]
    async fn a_settled_dead_letter_begins_again_when_it_is_sent_again() {
        let mut deliveries = Deliveries::new(4);
        let order = identity();
        let end = ended(&order, Some(Reason::Rejected));
        deliveries.begin(order.clone(), None, unsettled(1), async move { end });
        let Some((outcome, _)) = deliveries.finished().await else { panic!("interrupted") };
        let redelivered = deliveries.admit(first(order.event_id), true, unsettled(2));
        assert_eq!(redelivered, Admission::Known(unsettled(2), Arc::clone(&outcome)));
        deliveries.settled(&outcome);
        assert_eq!(deliveries.admit(first(order.event_id), false, unsettled(3)), Admission::Begin(unsettled(3)));
    }

    #[tokio::test]
    async fn an_abandoned_delivery_is_named_with_how_far_it_was() {
        let mut deliveries = Deliveries::new(4);
        let orders: [Identity; 4] = std::array::from_fn(|_| identity());
        let [settled, unreported, interrupted, running] = orders.clone();
        for order in [&settled, &unreported] {
            let end = ended(order, None);
            deliveries.begin(order.clone(), None, unsettled(1), async move { end });
            let Some((outcome, _)) = deliveries.finished().await else { panic!("interrupted") };
            if outcome.event_id == settled.event_id {
                deliveries.settled(&outcome);
            }
        }
        let event = interrupted.event_id;
        deliveries.begin(interrupted.clone(), None, unsettled(3), async move { Ended::Interrupted(first(event)) });
        assert!(deliveries.finished().await.is_none());
        deliveries.begin(running.clone(), None, unsettled(4), std::future::pending());
        let left: Vec<_> = deliveries.abandon().await.into_iter().map(|left| (left.identity, left.state)).collect();
        let expected =
            [(running, "an attempt was running"), (interrupted, "backing off"), (unreported, "ended, not settled")];
        assert_eq!(left, expected);
        assert_eq!(deliveries.running(), 0);
    }

    #[tokio::test]
    async fn the_number_of_remembered_outcomes_is_bounded() {
        let mut deliveries = Deliveries::new(4);
        let orders: Vec<_> = (0..REMEMBERED + 9).map(|_| identity()).collect();
        for order in &orders {
            let end = ended(order, None);
            deliveries.begin(order.clone(), None, unsettled(1), async move { end });
            let _ = deliveries.finished().await;
        }
        let admitted =
            |order: &Identity| deliveries.known.contains_key(&DeliveryId { event: order.event_id, dead_letter: None });
        assert_eq!(orders.iter().map(admitted).collect::<Vec<_>>().iter().filter(|known| !**known).count(), 1);
        assert!(!admitted(&orders[0]));
    }

    #[tokio::test]
    async fn a_redrive_begins_whatever_the_first_outcome_and_has_its_own() {
        for reason in [None, Some(Reason::Rejected)] {
            let mut deliveries = Deliveries::new(4);
            let (order, dead_letter) = (identity(), Some(Uuid::now_v7()));
            let redrive = DeliveryId { event: order.event_id, dead_letter };
            let end = ended(&order, reason);
            deliveries.begin(order.clone(), None, unsettled(1), async move { end });
            assert_eq!(deliveries.admit(redrive, false, unsettled(2)), Admission::Begin(unsettled(2)));
            deliveries.finished().await;
            for (tag, redelivered) in [(3, false), (4, true)] {
                let admission = deliveries.admit(redrive, redelivered, unsettled(tag));
                assert_eq!(admission, Admission::Begin(unsettled(tag)), "{reason:?}");
            }
            let Ended::Finished(end) = ended(&order, None) else { panic!("interrupted") };
            let end = Arc::new(Outcome { dead_letter, ..(*end).clone() });
            let finished = Ended::Finished(Arc::clone(&end));
            deliveries.begin(order.clone(), dead_letter, unsettled(5), async move { finished });
            assert_eq!(deliveries.admit(redrive, true, unsettled(6)), Admission::Running);
            deliveries.finished().await;
            assert_eq!(deliveries.admit(redrive, false, unsettled(7)), Admission::Known(unsettled(7), end));
        }
    }
}
