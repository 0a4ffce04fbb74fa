//! Report: outcomes and waits are collected into few messages, and a delivery is settled only after the broker has
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
    outcome::{MAX_REPORTED, Outcome, Progress, Report},
};

/// How long an outcome waits for others. No API call waits for it; it only delays what is shown. A report
/// for each outcome would double the broker's work for an order.
const LINGER: Duration = Duration::from_millis(10);
/// Most bytes of a report, give or take one line.
const MAX_BYTES: usize = 1_024 * 1_024;
/// The pause before a report that the broker refused (its queue is full) is sent again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// What is reported of a delivery.
#[derive(Debug)]
pub(super) enum Known {
    /// How it ended.
    Ended(Arc<Outcome>),
    /// That it waits.
    Waits(Box<Progress>),
}

impl Known {
    /// The approximate length of its JSON, in bytes.
    fn bytes(&self) -> usize {
        let attempts = match self {
            Self::Ended(outcome) => outcome.attempts.len(),
            Self::Waits(progress) => progress.attempts.len(),
        };
        let event = match self {
            Self::Waits(progress) => progress.handover.as_ref().map_or(0, |handover| handover.event.len()),
            Self::Ended(_) => 0,
        };
        event + 512 * (attempts + 1)
    }
}

/// A line of a report, and the deliveries that may be settled once the broker has confirmed it.
#[derive(Debug)]
pub(super) struct Reported {
    pub(super) known: Known,
    pub(super) unsettled: Vec<Unsettled>,
}

/// Collects lines and publishes reports.
#[derive(Debug)]
pub(super) struct Reporter {
    publisher: Publisher<Vec<Reported>>,
    target: Target,
    pending: VecDeque<Reported>,
    /// The approximate bytes of what is pending.
    bytes: usize,
    due: Option<Instant>,
    /// Set when the broker has refused a report: nothing is sent before this time.
    paused_until: Option<Instant>,
}

impl Reporter {
    pub(super) fn new(publisher: Publisher<Vec<Reported>>, queue: String) -> Self {
        Self {
            publisher,
            target: Target::Queue(queue),
            pending: VecDeque::new(),
            bytes: 0,
            due: None,
            paused_until: None,
        }
    }

    /// Adds a line, and sends a report as soon as one is full.
    pub(super) fn push(&mut self, known: Known, unsettled: Vec<Unsettled>) {
        self.bytes += known.bytes();
        self.pending.push_back(Reported { known, unsettled });
        self.due.get_or_insert_with(|| Instant::now() + LINGER);
        if (self.pending.len() >= MAX_REPORTED || self.bytes >= MAX_BYTES) && self.paused_until.is_none() {
            self.send();
        }
    }

    /// When to call [`Reporter::send`].
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether everything has been reported and confirmed.
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

    /// Reports all lines, at most [`MAX_REPORTED`] in a message. If the broker has just refused a report,
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
        self.bytes = 0;
        while !self.pending.is_empty() {
            let mut bytes = 0;
            let fits = |line: &&Reported| {
                bytes += line.known.bytes();
                bytes <= MAX_BYTES
            };
            // A line that is too long by itself goes alone.
            let count = self.pending.iter().take(MAX_REPORTED).take_while(fits).count().max(1);
            let lines = self.pending.drain(..count).collect();
            self.publish(lines);
        }
    }

    fn publish(&mut self, lines: Vec<Reported>) {
        let mut report = Report { outcomes: Vec::new(), progress: Vec::new() };
        for line in &lines {
            match &line.known {
                Known::Ended(outcome) => report.outcomes.push(&**outcome),
                Known::Waits(progress) => report.progress.push(&**progress),
            }
        }
        match serde_json::to_vec(&report) {
            Ok(body) => {
                let message = Message::new(Uuid::now_v7(), "Outcomes", body.into());
                self.publisher.publish(&self.target, message, lines);
            }
            // The types hold nothing that JSON cannot represent. Unsettled deliveries are delivered again.
            Err(fault) => tracing::error!(%fault, "cannot encode a report"),
        }
    }

    /// Waits for confirms and returns the lines whose reports are confirmed. Never returns while nothing is
    /// in flight.
    ///
    /// Cancellation safe.
    pub(super) async fn confirmed(&mut self) -> Result<Vec<Reported>, BrokerFault> {
        let resolved = self.publisher.resolved().await?;
        if !resolved.refused.is_empty() {
            self.pending.extend(resolved.refused.into_iter().flatten());
            self.bytes = self.pending.iter().map(|line| line.known.bytes()).sum();
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
