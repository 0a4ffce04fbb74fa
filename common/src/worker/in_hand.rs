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

use super::attempt::Ended;
use crate::{
    broker::delivery::Unsettled,
    event::EventId,
    outcome::{Outcome, OutcomeStatus},
};

/// Attempts that run and outcomes that are known.
#[derive(Debug)]
pub(super) struct InHand {
    tasks: JoinSet<Ended>,
    /// What is owed to the broker for each event that runs. Usually one delivery; more when the
    /// relay published twice; none while there is no connection.
    running: HashMap<EventId, Vec<Unsettled>>,
    known: HashMap<EventId, Arc<Outcome>>,
    /// The known ones, oldest first: the bound on how many are remembered.
    known_since: VecDeque<EventId>,
    remember: usize,
    /// Ended in a back-off, because the process must end.
    interrupted: Vec<EventId>,
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

impl InHand {
    /// Remembers the last `remember` outcomes.
    pub(super) fn new(remember: usize) -> Self {
        Self {
            tasks: JoinSet::new(),
            running: HashMap::new(),
            known: HashMap::new(),
            known_since: VecDeque::new(),
            remember,
            interrupted: Vec::new(),
        }
    }

    /// How many are being attempted.
    pub(super) fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Forgets what was owed on a connection that is gone.
    pub(super) fn connection_lost(&mut self) {
        self.running.values_mut().for_each(Vec::clear);
    }

    /// Looks whether this event needs to be begun.
    pub(super) fn admit(&mut self, event: EventId, redelivered: bool, unsettled: Unsettled) -> Admission {
        if let Some(owed) = self.running.get_mut(&event) {
            owed.push(unsettled);
            return Admission::Running;
        }
        match self.known.get(&event) {
            // A dead letter that comes as new was sent again on purpose and is to be tried again.
            Some(outcome) if redelivered || outcome.status == OutcomeStatus::Delivered => {
                Admission::Known(unsettled, Arc::clone(outcome))
            }
            _ => Admission::Begin(unsettled),
        }
    }

    /// Runs the attempts of one event.
    pub(super) fn begin(
        &mut self,
        event: EventId,
        unsettled: Unsettled,
        attempts: impl Future<Output = Ended> + Send + 'static,
    ) {
        self.running.insert(event, vec![unsettled]);
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
                let owed = self.running.remove(&outcome.event_id).unwrap_or_default();
                self.remember(&outcome);
                Some((outcome, owed))
            }
            Some(Ok(Ended::Interrupted(event))) => {
                self.running.remove(&event);
                self.interrupted.push(event);
                None
            }
            // Panics are caught within; an aborted task ends when the process does.
            Some(Err(_)) => None,
            None => std::future::pending().await,
        }
    }

    /// Forgets a dead letter that was settled: when it comes again, somebody has sent it again.
    pub(super) fn settled(&mut self, outcome: &Outcome) {
        if outcome.status == OutcomeStatus::DeadLettered {
            self.known.remove(&outcome.event_id);
            self.known_since.retain(|event| *event != outcome.event_id);
        }
    }

    /// Ends whatever still runs, at once, and tells which events were left: these, and those that
    /// were interrupted before.
    pub(super) async fn abandon(&mut self) -> Vec<EventId> {
        self.tasks.shutdown().await;
        let mut left = std::mem::take(&mut self.interrupted);
        left.extend(self.running.drain().map(|(event, _)| event));
        left
    }

    fn remember(&mut self, outcome: &Arc<Outcome>) {
        if self.known.insert(outcome.event_id, Arc::clone(outcome)).is_none() {
            self.known_since.push_back(outcome.event_id);
        }
        while self.known_since.len() > self.remember {
            if let Some(oldest) = self.known_since.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}
