//! The ledger: takes the workers' reports, records them many in one transaction, and acknowledges
//! only after the commit.

mod lines;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{
    broker::{
        Broker, BrokerFault,
        consumer::Consumer,
        delivery::{Delivery, Settlement, Unsettled},
        supervisor::Session,
    },
    destination::Name,
    event::now,
    health::{self, Component},
    outcome::{Outcome, Reason},
    telemetry::metrics::Metrics,
    timer,
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::lines::Lines;
use crate::{app::Context, redrive::RedriveMetrics, waker::Begun};
use store::{Collected, Desk, Writes};

/// Reports being recorded at a time, each of up to [`MAX_REPORTED`](common::outcome::MAX_REPORTED) outcomes.
const PREFETCH: u16 = 64;

/// What the ledger counts.
#[derive(Clone, Debug)]
struct LedgerMetrics {
    outcomes: Family<ByOutcome, Counter>,
    unreadable: Counter,
    consumer_up: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    destination: String,
    status: &'static str,
    reason: &'static str,
}

impl LedgerMetrics {
    fn register(metrics: &Metrics) -> Self {
        let this = Self { outcomes: Family::default(), unreadable: Counter::default(), consumer_up: Gauge::default() };
        metrics.register(|registry| {
            registry.register(
                "ledger_outcomes",
                "Outcomes recorded, by destination, status and reason",
                this.outcomes.clone(),
            );
            registry.register(
                "ledger_unreadable",
                "Reports, and single lines of reports, that cannot be read, dead-lettered",
                this.unreadable.clone(),
            );
        });
        metrics.register(|registry| {
            registry.register("ledger_consumer_up", "1 while reports are consumed", this.consumer_up.clone());
        });
        this
    }

    /// Counts by the destinations and reasons that are known, so that no report can invent a series.
    fn recorded(&self, outcomes: &[Outcome], destinations: &[Name]) {
        // A report is of one destination and mostly of one status: counting runs spares look-ups.
        for run in
            outcomes.chunk_by(|a, b| (a.status, &a.reason, &a.destination) == (b.status, &b.reason, &b.destination))
        {
            if let Some(outcome) = run.first() {
                let labels = ByOutcome {
                    destination: destinations
                        .iter()
                        .find(|name| **name == outcome.destination)
                        .map_or("other", Name::as_str)
                        .to_owned(),
                    status: outcome.status.as_str(),
                    reason: outcome.reason.as_ref().map_or("", |reason| reason.known().map_or("other", Reason::as_str)),
                };
                self.outcomes.get_or_create(&labels).inc_by(run.len() as u64);
            }
        }
    }
}

/// The consumer of reports.
pub(crate) struct Ledger {
    broker: Broker,
    grace: Duration,
    writes: Writes,
    /// Records the delivery of reports that were dead letters themselves.
    desk: Desk,
    redrives: RedriveMetrics,
    begun: Begun,
    metrics: LedgerMetrics,
}

/// Reports whose outcomes are on their way into the store. One that the store did not take in, because it has
/// ended, is not settled.
type Recording = FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = (Unsettled, Option<Settlement>)> + Send>>>;

impl Ledger {
    /// A ledger that counts the ends of redriven deliveries in `redrives`, and tells of waits that have begun.
    #[must_use]
    pub(crate) fn new(context: &Context, redrives: RedriveMetrics) -> Self {
        Self {
            broker: context.broker.clone(),
            grace: context.grace,
            writes: context.writes.clone(),
            desk: context.desk.clone(),
            redrives,
            begun: context.begun.clone(),
            metrics: LedgerMetrics::register(&context.metrics),
        }
    }

    async fn take(
        &self,
        consumer: &mut Consumer,
        recording: &mut Recording,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> Result<(), BrokerFault> {
        let mut health_tick = health::ticks();
        loop {
            consumer.flush();
            let flush_at = consumer.flush_at();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                // Before the rest: a busy ledger must not look dead.
                _ = health_tick.tick() => {
                    consumer.check()?;
                    component.up();
                }
                Some((unsettled, settlement)) = recording.next(), if !recording.is_empty() => {
                    settle(consumer, unsettled, settlement);
                }
                delivery = consumer.next() => self.record(consumer, recording, delivery?).await,
                () = timer::at(flush_at) => {}
            }
        }
    }

    async fn record(&self, consumer: &mut Consumer, recording: &mut Recording, delivery: Delivery) {
        let Lines { report, aside } = match lines::read(&delivery.body) {
            Ok(lines) => lines,
            Err(fault) => {
                self.metrics.unreadable.inc();
                let message_id = delivery.message_id.map(tracing::field::display);
                tracing::warn!(message_id, %fault, "dead-lettered, an unreadable report");
                consumer.settle(delivery.unsettled, Settlement::DeadLetter);
                return;
            }
        };
        self.metrics.recorded(&report.outcomes, self.broker.destinations());
        self.redrives.ended(&report.outcomes);
        if !aside.is_empty() {
            self.metrics.unreadable.inc_by(aside.len() as u64);
            let message_id = delivery.message_id.map(tracing::field::display);
            tracing::warn!(message_id, lines = aside.len(), "lines of a report are unreadable, set aside");
        }
        let aside = aside.into_iter().map(|line| Arc::new(line.dead_letter(delivery.message_id, now()))).collect();
        // The store has ended only when the process does; the report is delivered again then.
        let waits: BTreeSet<_> = report
            .progress
            .iter()
            .filter(|progress| progress.handover.is_some())
            .map(|progress| progress.destination.clone())
            .collect();
        if let Ok(recorded) = self.writes.record(report).await {
            let (unsettled, begun) = (delivery.unsettled, self.begun.clone());
            let (redriven, desk) = (delivery.dead_letter, self.desk.clone());
            recording.push(Box::pin(async move {
                if recorded.await.is_err() {
                    return (unsettled, None);
                }
                waits.iter().for_each(|destination| begun.at(destination));
                // The report itself was a dead letter, and is none any more.
                if let Some(dead_letter) = redriven
                    && let Err(fault) = desk.end_redrive_of_report(dead_letter).await
                {
                    tracing::warn!(%dead_letter, %fault, "a report that was sent again is recorded, its redrive is not");
                }
                (unsettled, Some(set_aside(&desk, aside).await))
            }));
        }
    }

    async fn drain(
        &self,
        mut consumer: Consumer,
        mut recording: Recording,
        component: &Component,
    ) -> Result<(), BrokerFault> {
        let deadline = Instant::now() + self.grace;
        let mut health_tick = health::ticks();
        consumer.cancel().await;
        while !recording.is_empty() {
            tokio::select! {
                biased;
                Some((unsettled, settlement)) = recording.next() => settle(&mut consumer, unsettled, settlement),
                () = sleep_until(deadline) => {
                    tracing::warn!(reports = recording.len(), "left unrecorded; they are delivered again");
                    break;
                }
                _ = health_tick.tick() => component.sign_of_life(),
            }
        }
        consumer.close().await;
        Ok(())
    }
}

fn settle(consumer: &mut Consumer, unsettled: Unsettled, settlement: Option<Settlement>) {
    if let Some(settlement) = settlement {
        consumer.settle(unsettled, settlement);
    }
}

/// Stores the lines of a report that cannot be read, and says how the report, whose other lines are recorded, is
/// settled. If the store does not take them, it is kept as a whole: a line that is recorded twice changes nothing.
async fn set_aside(desk: &Desk, lines: Vec<Arc<Collected>>) -> Settlement {
    if lines.is_empty() {
        return Settlement::Ack;
    }
    let count = lines.len();
    match desk.collect(lines, now()).await {
        Ok(_) => Settlement::Ack,
        Err(fault) => {
            tracing::error!(%fault, lines = count, "unreadable lines of a report are not stored, it is dead-lettered");
            Settlement::DeadLetter
        }
    }
}

impl Session for Ledger {
    async fn run(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        let queue = self.broker.names().outcomes();
        let mut consumer = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            opened = Consumer::open(&self.broker, queue, PREFETCH) => opened?,
        };
        component.up();
        let mut recording = Recording::new();
        self.metrics.consumer_up.set(1);
        let taken = self.take(&mut consumer, &mut recording, component, shutdown).await;
        self.metrics.consumer_up.set(0);
        taken?;
        component.down("draining");
        self.drain(consumer, recording, component).await
    }
}
