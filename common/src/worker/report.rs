//! Report: outcomes are gathered into few messages, and a delivery is settled only after the
//! broker has confirmed its report.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    broker::{
        BrokerFault,
        delivery::Unsettled,
        publisher::{Message, Publisher, Target},
    },
    outcome::{MAX_REPORTED, Outcome, Report},
};

/// How long an outcome waits for company. No API call waits for it: it only delays what is shown.
/// An unbatched report would double the broker's work for an order.
const LINGER: Duration = Duration::from_millis(10);
/// The pause before a report that the broker refused (its queue is full) is sent again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// An outcome, and the deliveries that may be settled once it is reported.
#[derive(Debug)]
pub(super) struct Reported {
    pub(super) outcome: Arc<Outcome>,
    pub(super) owed: Vec<Unsettled>,
}

/// Gathers outcomes and publishes them.
#[derive(Debug)]
pub(super) struct Reporter {
    publisher: Publisher<Vec<Reported>>,
    target: Target,
    gathered: VecDeque<Reported>,
    due: Option<Instant>,
    /// The broker refused a report: nothing is sent before.
    paused_until: Option<Instant>,
}

impl Reporter {
    pub(super) fn new(publisher: Publisher<Vec<Reported>>, outcomes_queue: String) -> Self {
        Self {
            publisher,
            target: Target::Queue(outcomes_queue),
            gathered: VecDeque::new(),
            due: None,
            paused_until: None,
        }
    }

    /// Takes an outcome; sends when a message is full.
    pub(super) fn push(&mut self, outcome: Arc<Outcome>, owed: Vec<Unsettled>) {
        self.gathered.push_back(Reported { outcome, owed });
        self.due.get_or_insert_with(|| Instant::now() + LINGER);
        if self.gathered.len() >= MAX_REPORTED && self.paused_until.is_none() {
            self.send();
        }
    }

    /// When [`Reporter::send`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether nothing is gathered and nothing waits for its confirm.
    pub(super) fn idle(&self) -> bool {
        self.gathered.is_empty() && self.publisher.in_flight() == 0
    }

    /// Whether the broker takes nothing from publishers at present.
    pub(super) fn blocked(&self) -> bool {
        self.publisher.blocked()
    }

    /// Whether the session still stands.
    pub(super) fn check(&self) -> Result<(), BrokerFault> {
        self.publisher.check()
    }

    /// Sends what is gathered, in messages of at most [`MAX_REPORTED`], unless the broker has
    /// just refused one: then when the pause is over.
    pub(super) fn send(&mut self) {
        if let Some(until) = self.paused_until
            && until > Instant::now()
        {
            self.due = Some(until);
            return;
        }
        self.paused_until = None;
        self.due = None;
        while !self.gathered.is_empty() {
            let count = self.gathered.len().min(MAX_REPORTED);
            let outcomes = self.gathered.drain(..count).collect();
            self.publish(outcomes);
        }
    }

    fn publish(&mut self, outcomes: Vec<Reported>) {
        let report = Report { outcomes: outcomes.iter().map(|reported| &*reported.outcome).collect() };
        match serde_json::to_vec(&report) {
            Ok(body) => {
                let body = body.into();
                let message = Message { id: Uuid::now_v7(), kind: "Outcomes", correlation_id: None, trace: None, body };
                self.publisher.publish(&self.target, message, outcomes);
            }
            // The types hold nothing that JSON cannot. Unsettled, they would be delivered again.
            Err(fault) => tracing::error!(%fault, "a report cannot be written"),
        }
    }

    /// Waits for the broker and returns what it has confirmed. Pends while nothing is in flight.
    ///
    /// Cancellation safe.
    pub(super) async fn confirmed(&mut self) -> Result<Vec<Reported>, BrokerFault> {
        let resolved = self.publisher.resolved().await?;
        if !resolved.refused.is_empty() {
            self.gathered.extend(resolved.refused.into_iter().flatten());
            self.paused_until = Some(Instant::now() + REFUSED_PAUSE);
            self.due = self.paused_until;
            tracing::warn!("the broker refused a report, its queue is full; sending it again");
        }
        Ok(resolved.confirmed.into_iter().flatten().collect())
    }

    /// Closes the connection in good order.
    pub(super) async fn close(self) {
        self.publisher.close().await;
    }
}
