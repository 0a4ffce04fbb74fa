//! Report: outcomes are collected into few messages, and a delivery is settled only after the broker has
//! confirmed its report.

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

/// How long an outcome waits for others. No API call waits for it; it only delays what is shown. A report
/// for each outcome would double the broker's work for an order.
const LINGER: Duration = Duration::from_millis(10);
/// The pause before a report that the broker refused (its queue is full) is sent again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// An outcome, and the deliveries that may be settled once the broker has confirmed its report.
#[derive(Debug)]
pub(super) struct Reported {
    pub(super) outcome: Arc<Outcome>,
    pub(super) unsettled: Vec<Unsettled>,
}

/// Collects outcomes and publishes reports.
#[derive(Debug)]
pub(super) struct Reporter {
    publisher: Publisher<Vec<Reported>>,
    target: Target,
    pending: VecDeque<Reported>,
    due: Option<Instant>,
    /// Set when the broker has refused a report: nothing is sent before this time.
    paused_until: Option<Instant>,
}

impl Reporter {
    pub(super) fn new(publisher: Publisher<Vec<Reported>>, queue: String) -> Self {
        Self { publisher, target: Target::Queue(queue), pending: VecDeque::new(), due: None, paused_until: None }
    }

    /// Adds an outcome, and sends a report as soon as one is full.
    pub(super) fn push(&mut self, outcome: Arc<Outcome>, unsettled: Vec<Unsettled>) {
        self.pending.push_back(Reported { outcome, unsettled });
        self.due.get_or_insert_with(|| Instant::now() + LINGER);
        if self.pending.len() >= MAX_REPORTED && self.paused_until.is_none() {
            self.send();
        }
    }

    /// When to call [`Reporter::send`].
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether every outcome has been reported and confirmed.
    pub(super) fn idle(&self) -> bool {
        self.pending.is_empty() && self.publisher.in_flight() == 0
    }

    /// Whether the broker blocks publishers at the moment.
    pub(super) fn blocked(&self) -> bool {
        self.publisher.blocked()
    }

    /// Checks that the session is open.
    pub(super) fn check(&self) -> Result<(), BrokerFault> {
        self.publisher.check()
    }

    /// Reports all outcomes, at most [`MAX_REPORTED`] in a message. If the broker has just refused a report,
    /// only sets the time of the next try.
    pub(super) fn send(&mut self) {
        if let Some(until) = self.paused_until
            && until > Instant::now()
        {
            self.due = Some(until);
            return;
        }
        self.paused_until = None;
        self.due = None;
        while !self.pending.is_empty() {
            let count = self.pending.len().min(MAX_REPORTED);
            let outcomes = self.pending.drain(..count).collect();
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
            // The types hold nothing that JSON cannot represent. Unsettled deliveries are delivered again.
            Err(fault) => tracing::error!(%fault, "cannot encode a report"),
        }
    }

    /// Waits for confirms and returns the outcomes whose reports are confirmed. Never returns while nothing is
    /// in flight.
    ///
    /// Cancellation safe.
    pub(super) async fn confirmed(&mut self) -> Result<Vec<Reported>, BrokerFault> {
        let resolved = self.publisher.resolved().await?;
        if !resolved.refused.is_empty() {
            self.pending.extend(resolved.refused.into_iter().flatten());
            self.paused_until = Some(Instant::now() + REFUSED_PAUSE);
            self.due = self.paused_until;
            tracing::warn!("the broker refused a report because its queue is full; sending it again");
        }
        Ok(resolved.confirmed.into_iter().flatten().collect())
    }

    /// Closes the connection cleanly.
    pub(super) async fn close(self) {
        self.publisher.close().await;
    }
}
