//! The pipeline: decode → admit → attempt / back off → report → settle.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    attempt::Attempts,
    config::WorkerConfig,
    deliveries::{Admission, Deliveries, DeliveryId, Unfinished},
    metrics::WorkerMetrics,
    report::{Reported, Reporter},
    settle::{End, settlement},
};
use crate::{
    broker::{Broker, BrokerFault, consumer::Consumer, delivery::Delivery, publisher::Publisher, supervisor::Session},
    destination::{Destination, Name},
    event::{self, Decoded, Identity},
    health::{self, Component},
    outcome::{Outcome, Reason},
    timer,
    trace_context::TraceParent,
};

/// The deliveries of one destination, over any number of sessions with the broker.
pub(super) struct Pipeline<D> {
    attempts: Arc<Attempts<D>>,
    config: WorkerConfig,
    grace: Duration,
    broker: Broker,
    deliveries: Deliveries,
}

impl<D: Destination> Pipeline<D> {
    pub(super) fn new(
        destination: D,
        config: WorkerConfig,
        grace: Duration,
        broker: Broker,
        metrics: WorkerMetrics,
    ) -> Self {
        let (stop, name) = (CancellationToken::new(), Name::of::<D>());
        Self {
            attempts: Arc::new(Attempts { destination, name, retry: config.retry, metrics, stop }),
            grace,
            broker,
            deliveries: Deliveries::new(usize::from(config.prefetch())),
            config,
        }
    }

    async fn open(&self) -> Result<(Consumer, Reporter), BrokerFault> {
        let names = self.broker.names();
        // The publisher first: what cannot be reported must not be taken.
        let publisher = Publisher::open(&self.broker).await?;
        let reporter = Reporter::new(publisher, names.outcomes());
        let queue = names.queue(&self.attempts.name);
        let consumer = Consumer::open(&self.broker, queue, self.config.prefetch()).await?;
        Ok((consumer, reporter))
    }

    /// Takes deliveries until `shutdown`.
    async fn take(
        &mut self,
        consumer: &mut Consumer,
        reporter: &mut Reporter,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> Result<(), BrokerFault> {
        let mut health_tick = health::ticks();
        loop {
            if reporter.due().is_some_and(|due| due <= Instant::now()) {
                reporter.send();
            }
            consumer.flush();
            let wake_at = [reporter.due(), consumer.flush_at()].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                // First, because a busy worker must not look dead.
                _ = health_tick.tick() => {
                    consumer.check()?;
                    reporter.check()?;
                    if reporter.blocked() {
                        component.down("the broker accepts no reports at the moment (memory or disk alarm)");
                    } else {
                        component.up();
                    }
                }
                finished = self.deliveries.finished() => {
                    if let Some((outcome, unsettled)) = finished {
                        reporter.push(outcome, unsettled);
                    }
                    self.gauge();
                }
                confirmed = reporter.confirmed() => self.settle(consumer, confirmed?),
                delivery = consumer.next(), if self.deliveries.running() < self.config.concurrency => {
                    self.admit(consumer, reporter, delivery?);
                    self.gauge();
                }
                () = timer::at(wake_at) => {}
            }
        }
    }

    /// Decode and admit.
    fn admit(&mut self, consumer: &mut Consumer, reporter: &mut Reporter, delivery: Delivery) {
        let metrics = &self.attempts.metrics;
        if delivery.redelivered {
            metrics.redelivered.inc();
        }
        let message_id = delivery.message_id.map(tracing::field::display);
        let order = match event::decode(&delivery.body) {
            Ok(Decoded::OrderCreated(order)) => order,
            Ok(Decoded::Unknown { event_type }) => {
                metrics.unknown_events.inc();
                tracing::debug!(message_id, event_type, "acknowledged an event of an unknown type");
                consumer.settle(delivery.unsettled, settlement(End::UnknownEvent));
                return;
            }
            Err(fault) => {
                metrics.dead_lettered(Reason::Unreadable);
                let identity = event::identity(&delivery.body);
                let order_id = identity.as_ref().map(|identity| tracing::field::display(identity.order_id));
                let correlation_id = identity.as_ref().map(|identity| identity.correlation_id.to_string());
                let bytes = delivery.body.len();
                tracing::warn!(message_id, order_id, correlation_id, bytes, %fault, "dead-lettered, unreadable");
                match identity {
                    // Its order shows it, like any other dead letter.
                    Some(identity) => {
                        let outcome = Outcome::unreadable(identity, self.attempts.name.clone(), delivery.dead_letter);
                        reporter.push(Arc::new(outcome), vec![delivery.unsettled]);
                    }
                    None => consumer.settle(delivery.unsettled, settlement(End::Unreadable)),
                }
                return;
            }
        };
        let id = DeliveryId { event: order.event_id, dead_letter: delivery.dead_letter };
        match self.deliveries.admit(id, delivery.redelivered, delivery.unsettled) {
            Admission::Running => {}
            Admission::Known(unsettled, outcome) => reporter.push(outcome, vec![unsettled]),
            Admission::Begin(unsettled) => {
                let trace = delivery.trace.unwrap_or_else(TraceParent::root);
                let correlation_id = order.correlation_id.clone();
                let identity = Identity { event_id: id.event, order_id: order.order_id, correlation_id };
                let attempts = Arc::clone(&self.attempts).run(order, id.dead_letter, trace);
                self.deliveries.begin(identity, id.dead_letter, unsettled, attempts);
            }
        }
    }

    /// Finishes the running deliveries within `grace`, and takes no new ones.
    async fn drain(
        &mut self,
        mut consumer: Consumer,
        mut reporter: Reporter,
        component: &Component,
    ) -> Result<(), BrokerFault> {
        let deadline = Instant::now() + self.grace;
        let mut health_tick = health::ticks();
        consumer.cancel().await;
        let finished = timeout_at(deadline, async {
            while self.deliveries.running() > 0 || !reporter.idle() {
                // In a drain, outcomes do not wait for others.
                reporter.send();
                consumer.flush();
                let wake_at = [reporter.due(), consumer.flush_at()].into_iter().flatten().min();
                tokio::select! {
                    finished = self.deliveries.finished() => {
                        if let Some((outcome, unsettled)) = finished {
                            reporter.push(outcome, unsettled);
                        }
                    }
                    confirmed = reporter.confirmed() => self.settle(&mut consumer, confirmed?),
                    _ = health_tick.tick() => component.sign_of_life(),
                    () = timer::at(wake_at) => {}
                }
            }
            Ok(())
        });
        let finished = finished.await.unwrap_or(Ok(()));
        self.abandon().await;
        // Closing sends the last acknowledgements. What is unsettled goes back to the queue.
        consumer.close().await;
        reporter.close().await;
        finished
    }

    /// Aborts what is still running and logs what is left unfinished: a line for each, because people search for
    /// an order by its ids, and a line for all.
    async fn abandon(&mut self) {
        let unfinished = self.deliveries.abandon().await;
        for Unfinished { identity: Identity { event_id, order_id, correlation_id }, state } in &unfinished {
            tracing::warn!(%order_id, %correlation_id, event_id = %event_id.0, state, "left unfinished; it is delivered again");
        }
        if !unfinished.is_empty() {
            tracing::warn!(deliveries = unfinished.len(), "left unfinished; they are delivered again");
        }
    }

    /// The only place where a reported delivery leaves its queue.
    fn settle(&mut self, consumer: &mut Consumer, confirmed: Vec<Reported>) {
        for Reported { outcome, unsettled } in confirmed {
            if !unsettled.is_empty() {
                self.deliveries.settled(&outcome);
            }
            for delivery in unsettled {
                consumer.settle(delivery, settlement(End::Reported(outcome.status)));
            }
        }
    }

    fn gauge(&self) {
        self.attempts.metrics.in_flight.set(i64::try_from(self.deliveries.running()).unwrap_or(i64::MAX));
    }
}

impl<D: Destination> Session for Pipeline<D> {
    async fn run(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        self.deliveries.connection_lost();
        let (mut consumer, mut reporter) = tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                self.abandon().await;
                return Ok(());
            }
            opened = self.open() => opened?,
        };
        tracing::info!(queue = self.broker.names().queue(&self.attempts.name), "consuming");
        component.up();
        self.attempts.metrics.consumer_up.set(1);
        let taken = self.take(&mut consumer, &mut reporter, component, shutdown).await;
        self.attempts.metrics.consumer_up.set(0);
        taken?;
        component.down("draining");
        self.attempts.stop.cancel();
        self.drain(consumer, reporter, component).await
    }
}
