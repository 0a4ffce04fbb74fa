//! What a worker has in hand, whatever becomes of its connections: attempts that run, and outcomes
//! that are known.
//!
//! When a connection is lost the broker hands the same deliveries out again. An event that is still
//! being attempted is not begun a second time, and one whose outcome is known is only reported, so
//! that a broker that restarts costs the destination no second call.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::attempt::Ended;
use crate::{
    broker::delivery::Unsettled,
    event::{EventId, Identity},
    outcome::{Outcome, OutcomeStatus},
};

/// Most outcomes that are remembered for their own sake, in about half a megabyte: when a connection of
/// the relay is lost, it publishes up to 512 events again, and each is known here rather than called.
const REMEMBERED: usize = 1_024;

/// One way of an event to its destination: the first, or as a dead letter that is sent again. What is
/// known of one way says nothing of another: a redrive is to be tried, whatever came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) event: EventId,
    pub(super) dead_letter: Option<Uuid>,
}

impl From<&Outcome> for Way {
    fn from(outcome: &Outcome) -> Self {
        Self { event: outcome.event_id, dead_letter: outcome.dead_letter }
    }
}

/// Attempts that run and outcomes that are known.
#[derive(Debug)]
pub(super) struct InHand {
    tasks: JoinSet<Ended>,
    running: HashMap<Way, Running>,
    known: HashMap<Way, Known>,
    /// The known ones, oldest first: the bound on how many are remembered.
    known_since: VecDeque<Way>,
    remember: usize,
    /// Ended in a back-off, because the process must end.
    interrupted: Vec<Identity>,
}

#[derive(Debug)]
struct Running {
    identity: Identity,
    /// What is owed to the broker. Usually one delivery; more when the relay published twice; none
    /// while there is no connection.
    owed: Vec<Unsettled>,
}

#[derive(Debug)]
struct Known {
    outcome: Arc<Outcome>,
    /// Whether a delivery of it was settled.
    settled: bool,
}

/// What is to be done with a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It runs already; it will be settled with the rest.
    Running,
    /// Its outcome is known; report that.
    Known(Unsettled, Arc<Outcome>),
    /// Begin.
    Begin(Unsettled),
}

/// A delivery that the process ends without having settled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) identity: Identity,
    /// How far it had come, in words for the person on call.
    pub(super) state: &'static str,
}

impl InHand {
    /// For at most `prefetch` deliveries at a time. Of a delivery that is not settled the outcome must be
    /// remembered, whatever else ends meanwhile.
    pub(super) fn new(prefetch: usize) -> Self {
        Self {
            tasks: JoinSet::new(),
            running: HashMap::new(),
            known: HashMap::new(),
            known_since: VecDeque::new(),
            remember: 2 * prefetch + REMEMBERED,
            interrupted: Vec::new(),
        }
    }

    /// How many are being attempted.
    pub(super) fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Forgets what was owed on a connection that is gone.
    pub(super) fn connection_lost(&mut self) {
        self.running.values_mut().for_each(|running| running.owed.clear());
    }

    /// Looks whether this event needs to be begun.
    pub(super) fn admit(&mut self, way: Way, redelivered: bool, unsettled: Unsettled) -> Admission {
        if let Some(running) = self.running.get_mut(&way) {
            running.owed.push(unsettled);
            return Admission::Running;
        }
        match self.known.get(&way) {
            // A dead letter that comes as new was sent again on purpose and is to be tried again.
            Some(Known { outcome, .. }) if redelivered || outcome.status == OutcomeStatus::Delivered => {
                Admission::Known(unsettled, Arc::clone(outcome))
            }
            _ => Admission::Begin(unsettled),
        }
    }

    /// Runs the attempts of one event.
    pub(super) fn begin(
        &mut self,
        identity: Identity,
        dead_letter: Option<Uuid>,
        unsettled: Unsettled,
        attempts: impl Future<Output = Ended> + Send + 'static,
    ) {
        let way = Way { event: identity.event_id, dead_letter };
        self.running.insert(way, Running { identity, owed: vec![unsettled] });
        self.tasks.spawn(attempts);
    }

    /// The next one that ends, with its outcome and what is owed for it. Nothing is owed for one
    /// that ended while there was no connection: its redelivery finds the outcome known. An
    /// interrupted one ends without a word. Pends while nothing runs.
    ///
    /// Cancellation safe.
    pub(super) async fn finished(&mut self) -> Option<(Arc<Outcome>, Vec<Unsettled>)> {
        match self.tasks.join_next().await {
            Some(Ok(Ended::Finished(outcome))) => {
                let owed = self.running.remove(&Way::from(&*outcome)).map_or_else(Vec::new, |running| running.owed);
                self.remember(&outcome);
                Some((outcome, owed))
            }
            Some(Ok(Ended::Interrupted(way))) => {
                self.interrupted.extend(self.running.remove(&way).map(|running| running.identity));
                None
            }
            // Panics are caught within; an aborted task ends when the process does.
            Some(Err(_)) => None,
            None => std::future::pending().await,
        }
    }

    /// Notes that a delivery of it was settled, and forgets a dead letter: when that comes again,
    /// somebody has sent it again.
    pub(super) fn settled(&mut self, outcome: &Outcome) {
        let way = Way::from(outcome);
        if outcome.status == OutcomeStatus::DeadLettered {
            self.known.remove(&way);
            self.known_since.retain(|known| *known != way);
        } else if let Some(known) = self.known.get_mut(&way) {
            known.settled = true;
        }
    }

    /// Ends whatever still runs, at once, and tells what was left: these, those that were interrupted
    /// before, and those that have ended and were not settled.
    pub(super) async fn abandon(&mut self) -> Vec<Left> {
        self.tasks.shutdown().await;
        let cut = self.running.drain().map(|(_, running)| (running.identity, "an attempt was running"));
        let interrupted = self.interrupted.drain(..).map(|identity| (identity, "backing off"));
        let unsettled = self.known.drain().filter(|(_, known)| !known.settled).map(|(_, Known { outcome, .. })| {
            let Outcome { event_id, order_id, .. } = *outcome;
            (Identity { event_id, order_id, correlation_id: outcome.correlation_id.clone() }, "ended, not settled")
        });
        self.known_since.clear();
        cut.chain(interrupted).chain(unsettled).map(|(identity, state)| Left { identity, state }).collect()
    }

    fn remember(&mut self, outcome: &Arc<Outcome>) {
        let known = Known { outcome: Arc::clone(outcome), settled: false };
        let way = Way::from(&**outcome);
        if self.known.insert(way, known).is_none() {
            self.known_since.push_back(way);
        }
        while self.known_since.len() > self.remember {
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

    fn first(event: EventId) -> Way {
        Way { event, dead_letter: None }
    }

    fn unsettled(tag: u64) -> Unsettled {
        Unsettled::for_test(tag)
    }

    #[tokio::test]
    async fn an_event_is_begun_once_however_often_it_comes() {
        let mut in_hand = InHand::new(4);
        let order = identity();
        assert_eq!(in_hand.admit(first(order.event_id), false, unsettled(1)), Admission::Begin(unsettled(1)));
        let (finish, finished) = tokio::sync::oneshot::channel();
        let end = ended(&order, None);
        in_hand.begin(order.clone(), None, unsettled(1), async move {
            let _ = finished.await;
            end
        });
        assert_eq!(in_hand.admit(first(order.event_id), false, unsettled(2)), Admission::Running);
        in_hand.connection_lost();
        assert_eq!(in_hand.admit(first(order.event_id), true, unsettled(1)), Admission::Running);
        let _ = finish.send(());
        let Some((outcome, owed)) = in_hand.finished().await else { panic!("interrupted") };
        assert_eq!(owed, [unsettled(1)], "what was owed on the lost connection is owed no more");
        let again = in_hand.admit(first(order.event_id), false, unsettled(3));
        assert_eq!(again, Admission::Known(unsettled(3), outcome));
    }

    #[tokio::test]
    async fn a_dead_letter_that_was_settled_is_begun_again_when_it_is_sent_again() {
        let mut in_hand = InHand::new(4);
        let order = identity();
        let end = ended(&order, Some(Reason::Rejected));
        in_hand.begin(order.clone(), None, unsettled(1), async move { end });
        let Some((outcome, _)) = in_hand.finished().await else { panic!("interrupted") };
        let redelivered = in_hand.admit(first(order.event_id), true, unsettled(2));
        assert_eq!(redelivered, Admission::Known(unsettled(2), Arc::clone(&outcome)));
        in_hand.settled(&outcome);
        assert_eq!(in_hand.admit(first(order.event_id), false, unsettled(3)), Admission::Begin(unsettled(3)));
    }

    #[tokio::test]
    async fn what_is_left_is_told_with_how_far_it_had_come() {
        let mut in_hand = InHand::new(4);
        let orders: [Identity; 4] = std::array::from_fn(|_| identity());
        let [settled, unreported, interrupted, running] = orders.clone();
        for order in [&settled, &unreported] {
            let end = ended(order, None);
            in_hand.begin(order.clone(), None, unsettled(1), async move { end });
            let Some((outcome, _)) = in_hand.finished().await else { panic!("interrupted") };
            if outcome.event_id == settled.event_id {
                in_hand.settled(&outcome);
            }
        }
        let event = interrupted.event_id;
        in_hand.begin(interrupted.clone(), None, unsettled(3), async move { Ended::Interrupted(first(event)) });
        assert!(in_hand.finished().await.is_none());
        in_hand.begin(running.clone(), None, unsettled(4), std::future::pending());
        let left: Vec<_> = in_hand.abandon().await.into_iter().map(|left| (left.identity, left.state)).collect();
        let wanted =
            [(running, "an attempt was running"), (interrupted, "backing off"), (unreported, "ended, not settled")];
        assert_eq!(left, wanted);
        assert_eq!(in_hand.running(), 0);
    }

    #[tokio::test]
    async fn what_is_remembered_has_a_bound() {
        let mut in_hand = InHand::new(4);
        let orders: Vec<_> = (0..REMEMBERED + 9).map(|_| identity()).collect();
        for order in &orders {
            let end = ended(order, None);
            in_hand.begin(order.clone(), None, unsettled(1), async move { end });
            let _ = in_hand.finished().await;
        }
        let admitted = |order: &Identity| in_hand.known.contains_key(&Way { event: order.event_id, dead_letter: None });
        assert_eq!(orders.iter().map(admitted).collect::<Vec<_>>().iter().filter(|known| !**known).count(), 1);
        assert!(!admitted(&orders[0]));
    }

    #[tokio::test]
    async fn a_redrive_is_begun_whatever_is_known_of_its_event_and_is_then_known_by_itself() {
        for reason in [None, Some(Reason::Rejected)] {
            let mut in_hand = InHand::new(4);
            let (order, dead_letter) = (identity(), Some(Uuid::now_v7()));
            let redrive = Way { event: order.event_id, dead_letter };
            let end = ended(&order, reason);
            in_hand.begin(order.clone(), None, unsettled(1), async move { end });
            assert_eq!(in_hand.admit(redrive, false, unsettled(2)), Admission::Begin(unsettled(2)));
            in_hand.finished().await;
            for (tag, redelivered) in [(3, false), (4, true)] {
                let admission = in_hand.admit(redrive, redelivered, unsettled(tag));
                assert_eq!(admission, Admission::Begin(unsettled(tag)), "{reason:?}");
            }
            let Ended::Finished(end) = ended(&order, None) else { panic!("interrupted") };
            let end = Arc::new(Outcome { dead_letter, ..(*end).clone() });
            let finished = Ended::Finished(Arc::clone(&end));
            in_hand.begin(order.clone(), dead_letter, unsettled(5), async move { finished });
            assert_eq!(in_hand.admit(redrive, true, unsettled(6)), Admission::Running);
            in_hand.finished().await;
            assert_eq!(in_hand.admit(redrive, false, unsettled(7)), Admission::Known(unsettled(7), end));
        }
    }
}
