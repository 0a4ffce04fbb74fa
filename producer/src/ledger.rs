//! The ledger: takes the workers' reports, records them many in one transaction, and acknowledges
//! only after the commit.

use std::time::Duration;

use common::{
    broker::{
        Broker, BrokerFault,
        consumer::Consumer,
        delivery::{Delivery, Settlement, Unsettled},
        supervisor::Session,
    },
    destination::Name,
    event::Unreadable,
    health::{self, Component},
    outcome::{Outcome, Report},
    telemetry::metrics::Metrics,
    timer,
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{app::Context, redrive::RedriveMetrics};
use store::{Desk, Writes};

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
                "Reports that cannot be read, dead-lettered",
                this.unreadable.clone(),
            );
        });
        metrics.register(|registry| {
            registry.register("ledger_consumer_up", "1 while reports are consumed", this.consumer_up.clone());
        });
        this
    }

    /// Counts by the destinations that are known, so that no report can invent a series.
    fn recorded(&self, outcomes: &[Outcome], destinations: &[Name]) {
        // A report is of one destination and mostly of one status: counting runs spares look-ups.
        for run in
            outcomes.chunk_by(|a, b| (a.status, a.reason, &a.destination) == (b.status, b.reason, &b.destination))
        {
            if let Some(outcome) = run.first() {
                let labels = ByOutcome {
                    destination: destinations
                        .iter()
                        .find(|name| **name == outcome.destination)
                        .map_or("other", Name::as_str)
                        .to_owned(),
                    status: outcome.status.as_str(),
                    reason: outcome.reason.map_or("", |reason| reason.as_str()),
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
    metrics: LedgerMetrics,
}

/// Reports whose outcomes are on their way into the store.
type Recording = FuturesUnordered<
    std::pin::Pin<Box<dyn Future<Output = (Unsettled, Result<(), oneshot::error::RecvError>)> + Send>>,
>;

impl Ledger {
    /// A ledger that counts the ends of redriven deliveries in `redrives`.
    #[must_use]
    pub(crate) fn new(context: &Context, redrives: RedriveMetrics) -> Self {
        Self {
            broker: context.broker.clone(),
            grace: context.grace,
            writes: context.writes.clone(),
            desk: context.desk.clone(),
            redrives,
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
                Some((unsettled, recorded)) = recording.next(), if !recording.is_empty() => {
                    settle(consumer, unsettled, recorded.is_ok());
                }
                delivery = consumer.next() => self.record(consumer, recording, delivery?).await,
                () = timer::at(flush_at) => {}
            }
        }
    }

    async fn record(&self, consumer: &mut Consumer, recording: &mut Recording, delivery: Delivery) {
        let report = match serde_json::from_slice::<Report>(&delivery.body) {
            Ok(report) => report,
            Err(fault) => {
                let fault = Unreadable::from(fault);
                self.metrics.unreadable.inc();
                let message_id = delivery.message_id.map(tracing::field::display);
                tracing::warn!(message_id, %fault, "dead-lettered, an unreadable report");
                consumer.settle(delivery.unsettled, Settlement::DeadLetter);
                return;
            }
        };
        self.metrics.recorded(&report.outcomes, self.broker.destinations());
        self.redrives.ended(&report.outcomes);
        // The store has ended only when the process does; the report is delivered again then.
        if let Ok(recorded) = self.writes.record(report.outcomes).await {
            let unsettled = delivery.unsettled;
            let (redriven, desk) = (delivery.dead_letter, self.desk.clone());
            recording.push(Box::pin(async move {
                let recorded = recorded.await;
                // The report itself was a dead letter, and is none any more.
                if let (Ok(()), Some(dead_letter)) = (&recorded, redriven)
                    && let Err(fault) = desk.end_redrive_of_report(dead_letter).await
                {
                    tracing::warn!(%dead_letter, %fault, "a report that was sent again is recorded, its redrive is not");
                }
                (unsettled, recorded)
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
                Some((unsettled, recorded)) = recording.next() => settle(&mut consumer, unsettled, recorded.is_ok()),
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

fn settle(consumer: &mut Consumer, unsettled: Unsettled, recorded: bool) {
    if recorded {
        consumer.settle(unsettled, Settlement::Ack);
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
