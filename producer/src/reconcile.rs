//! Reconciliation: names every delivery that is pending though nothing in the system will end it, and
//! publishes it again if configured to.
//!
//! A passive look at a queue shows how many messages are ready, not which. What must have left the queue
//! follows from time: whatever was published before a moment at which the queue was seen empty
//! was with a worker then, or lost. No worker holds a delivery for longer than the bound, so what has no
//! outcome after it is overdue. A queue that holds messages and has no consumer restarts the wait:
//! what a worker gave back when it ended is among them.

mod queues;
mod republish;
mod swept;

use api::Seen;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use common::{
    broker::{Broker, BrokerFault, depth},
    destination::Name,
    event::now,
    health::{Component, ComponentStatus},
    telemetry::metrics::Metrics,
};
use jiff::SignedDuration;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::queues::{Queues, Sample};
pub(crate) use self::swept::{Sweep, Swept};
use crate::{
    app::Context,
    config::{Reconcile, ReconcileMode},
    outbox::Outbox,
    redrive::Wake,
};
use store::{Desk, Found, StoreFault};

/// Most deliveries that are listed, for each destination and way in which they are seen.
const LISTED: u32 = 1_000;
/// Most deliveries that are logged once, and remembered for that.
const LOGGED: usize = 10_000;

/// What reconciliation counts.
#[derive(Clone, Debug)]
struct ReconcileMetrics {
    overdue: Family<ByDestination, Gauge>,
    republished: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDestination {
    destination: Name,
}

impl ReconcileMetrics {
    fn register(metrics: &Metrics) -> Self {
        let this = Self { overdue: Family::default(), republished: Counter::default() };
        metrics.register(|registry| {
            registry.register(
                "reconciliation_overdue",
                "Deliveries that are pending though nothing will end them, by destination",
                this.overdue.clone(),
            );
            registry.register(
                "reconciliation_republished",
                "Overdue deliveries that were published again",
                this.republished.clone(),
            );
        });
        this
    }
}

/// Sweeps, again and again.
pub(crate) struct Reconciler {
    broker: Broker,
    desk: Desk,
    /// Whether the relay publishes.
    relay: Component,
    outbox: Arc<Outbox>,
    settings: Reconcile,
    swept: Swept,
    wake: Wake,
    metrics: ReconcileMetrics,
    id: Uuid,
    queues: Queues,
    relay_up_since: Option<Instant>,
    logged: HashSet<Key>,
    republished: HashMap<Key, Instant>,
}

/// One delivery, by order or dead letter.
type Key = (Uuid, Name);

/// Why a sweep has no result this time.
#[derive(Debug, thiserror::Error)]
enum NotSwept {
    #[error("the store fails: {0}")]
    Store(#[from] StoreFault),
    #[error("{0}")]
    Broker(#[from] BrokerFault),
}

impl Reconciler {
    /// A reconciler over the broker's destinations.
    #[must_use]
    pub(crate) fn new(context: &Context, settings: Reconcile, relay: Component, swept: Swept, wake: Wake) -> Self {
        Self {
            broker: context.broker.clone(),
            desk: context.desk.clone(),
            relay,
            outbox: Arc::clone(&context.outbox),
            settings,
            swept,
            wake,
            metrics: ReconcileMetrics::register(&context.metrics),
            id: Uuid::now_v7(),
            queues: Queues::new(settings.after),
            relay_up_since: None,
            logged: HashSet::new(),
            republished: HashMap::new(),
        }
    }

    /// Sweeps until `shutdown`. What a sweep asks has a deadline each.
    pub(crate) async fn run(mut self, component: Component, shutdown: CancellationToken) {
        component.up();
        if self.settings.mode == ReconcileMode::Off {
            self.swept.note(Some("RECONCILE is off".to_owned()));
            let mut sign_of_life = tokio::time::interval(Duration::from_secs(10));
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    _ = sign_of_life.tick() => component.sign_of_life(),
                }
            }
        }
        // A long interval must not look like a stand-still.
        let mut sign_of_life = tokio::time::interval(Duration::from_secs(10));
        let mut sweeps = tokio::time::interval(self.settings.interval);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = sign_of_life.tick() => component.sign_of_life(),
                _ = sweeps.tick() => {
                    let swept = tokio::select! {
                        biased;
                        () = shutdown.cancelled() => break,
                        swept = self.sweep() => swept,
                    };
                    match swept {
                        Ok(()) => component.up(),
                        Err(fault) => {
                            self.swept.note(Some(fault.to_string()));
                            component.down(fault.to_string());
                        }
                    }
                }
            }
        }
        let _ = self.desk.release("reconciliation", self.id).await;
    }

    async fn sweep(&mut self) -> Result<(), NotSwept> {
        // First the marks, then the queues: what is published in between is judged later.
        let marks = self.desk.published_marks().await?;
        let names: Vec<_> = self.broker.destinations().iter().map(|name| self.broker.names().queue(name)).collect();
        let asked: Vec<_> = names.iter().cloned().chain([self.broker.names().outcomes()]).collect();
        let mut depths = depth::depths(&self.broker, &asked).await?;
        let outcomes = depths.pop().unwrap_or_default();
        let sample = Sample { at: Instant::now(), wall: now(), marks, depths };
        self.queues.seen(sample);
        self.see_relay();
        if outcomes.ready > 0 {
            // Some of them may be the outcomes of what would be named.
            self.swept.note(Some("reports wait to be recorded".to_owned()));
            return Ok(());
        }
        let findings = self.find().await?;
        self.publish_findings(&findings);
        if self.settings.mode == ReconcileMode::Republish {
            let length = self.settings.interval * 2 + Duration::from_secs(30);
            if self.desk.lease("reconciliation", self.id, length).await? {
                self.republish(&findings).await?;
            }
        }
        let listed: Vec<_> = findings.iter().flat_map(|(seen, found)| swept::overdue(*seen, found)).collect();
        let total = findings.iter().map(|(_, found)| found.total).sum();
        self.swept.swept(Sweep { checked_at: now(), overdue: listed, overdue_total: total });
        Ok(())
    }

    async fn find(&self) -> Result<Vec<(Seen, Found)>, StoreFault> {
        let mut findings = Vec::new();
        let after = SignedDuration::try_from(self.settings.after).unwrap_or(SignedDuration::MAX);
        if self.relay_up_since.is_some_and(|since| since.elapsed() >= self.settings.after)
            && let Ok(accepted_before) = now().checked_sub(after)
        {
            findings.push((Seen::Outbox, self.desk.pending_unpublished(accepted_before, LISTED).await?));
        }
        for (index, destination) in self.broker.destinations().iter().enumerate() {
            let Some(empty) = self.queues.empty(index) else { continue };
            let (marks, wall) = (empty.marks.clone(), empty.wall);
            let found = self.desk.pending_published(destination.clone(), marks, wall, LISTED).await?;
            findings.push((Seen::Published, found));
            let found = self.desk.pending_redriven(destination.clone(), wall, LISTED).await?;
            findings.push((Seen::Redriving, found));
        }
        Ok(findings)
    }

    /// While the relay is down, or a destination has fallen behind, what stays in the outbox is that and nothing else.
    fn see_relay(&mut self) {
        let up = self.relay.report().status == ComponentStatus::Up && !self.outbox.lanes().any_behind();
        self.relay_up_since = if up { self.relay_up_since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// One line for each delivery, once, and the metric.
    fn publish_findings(&mut self, findings: &[(Seen, Found)]) {
        let mut counts: HashMap<&Name, u64> = self.broker.destinations().iter().map(|name| (name, 0)).collect();
        let mut present = HashSet::new();
        for (seen, found) in findings {
            // Those that are not listed are counted with the last that is.
            let unlisted = found.total.saturating_sub(found.overdue.len() as u64);
            if let Some(last) = found.overdue.last() {
                *counts.entry(&last.destination).or_default() += unlisted;
            }
            for overdue in &found.overdue {
                *counts.entry(&overdue.destination).or_default() += 1;
                let Some(key) = key(overdue) else { continue };
                if !self.logged.contains(&key) && self.logged.len() + present.len() < LOGGED {
                    let order_id = overdue.order_id.map(tracing::field::display);
                    let dead_letter = overdue.dead_letter.map(tracing::field::display);
                    tracing::warn!(
                        order_id, dead_letter, destination = %overdue.destination, seen = seen.as_str(),
                        since = %overdue.since,
                        "overdue: the delivery is pending and nothing in the system will end it"
                    );
                }
                present.insert(key);
            }
        }
        for (destination, count) in counts {
            let labels = ByDestination { destination: destination.clone() };
            self.metrics.overdue.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        // One that is found again later is worth another line.
        self.logged = present;
    }
}

fn key(overdue: &store::Overdue) -> Option<Key> {
    let id = overdue.dead_letter.or(overdue.order_id.map(|order_id| order_id.0))?;
    Some((id, overdue.destination.clone()))
}
