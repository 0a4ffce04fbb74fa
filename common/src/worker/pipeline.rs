//! The pipeline: decode → admit → call / wait → report → settle.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    calls::{Called, Calls},
    circuit::{Change, Circuit},
    config::WorkerConfig,
    deliveries::{Admission, Arrived, Deliveries, DeliveryId, InHand, Unfinished},
    limit::Limit,
    log,
    metrics::WorkerMetrics,
    report::{Known, Reported, Reporter},
    settle::{End, settlement},
    verdict::{Situation, Verdict, sign},
};
use crate::{
    broker::{
        Broker, BrokerFault,
        consumer::Consumer,
        delivery::{Delivery, Resumed},
        publisher::Publisher,
        supervisor::Session,
    },
    destination::{Call, Destination, Name},
    event::{self, Decoded, now},
    health::{self, Component},
    http_client::Failure,
    idempotency,
    outcome::{Handover, Outcome, OutcomeStatus, Progress, Reason},
    timer,
    trace_context::TraceParent,
};

/// A longer wait is spent in the store.
const SHORT_WAIT: Duration = Duration::from_secs(30);
/// How many deliveries wait in memory, and how many bytes all in hand may take. Beyond it they wait in the store.
const WAITING_ROOM: usize = 256;
const ROOM_BYTES: usize = 16 * 1_024 * 1_024;

/// How many deliveries are taken for each that is in hand: some are being reported while others run.
const PREFETCH_FACTOR: usize = 2;
/// The largest prefetch that RabbitMQ allows for a quorum queue.
const MAX_PREFETCH: usize = 2_000;

/// The deliveries of one destination, over any number of sessions with the broker.
pub(super) struct Pipeline<D> {
    name: Name,
    config: WorkerConfig,
    grace: Duration,
    broker: Broker,
    metrics: WorkerMetrics,
    deliveries: Deliveries,
    calls: Calls<D>,
    limit: Limit,
    circuit: Circuit,
    /// The destination asked to be left alone until then.
    throttled_until: Option<Instant>,
    /// Whether the destination has accepted an order, and with it the credential.
    authorized: bool,
    stopping: bool,
}

impl<D: Destination> Pipeline<D> {
    pub(super) fn new(
        destination: D,
        config: WorkerConfig,
        grace: Duration,
        broker: Broker,
        metrics: WorkerMetrics,
    ) -> Self {
        Self {
            name: Name::of::<D>(),
            grace,
            broker,
            metrics,
            deliveries: Deliveries::new(prefetch(config.most_calls() + WAITING_ROOM).into()),
            calls: Calls::new(destination, config.retry.attempt_timeout),
            limit: Limit::new(config.concurrency),
            circuit: Circuit::new(),
            throttled_until: None,
            authorized: false,
            stopping: false,
            config,
        }
    }

    async fn open(&self) -> Result<(Consumer, Reporter), BrokerFault> {
        let names = self.broker.names();
        // The publisher first: what cannot be reported must not be taken.
        let publisher = Publisher::open(&self.broker).await?;
        let reporter = Reporter::new(publisher, names.outcomes());
        let consumer = Consumer::open(&self.broker, names.queue(&self.name), prefetch(self.limit.get())).await?;
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
            let now = Instant::now();
            if reporter.due().is_some_and(|due| due <= now) {
                reporter.send();
            }
            consumer.flush();
            let change = self.circuit.wake(now);
            self.changed(change);
            self.call_ready(reporter, now);
            self.gauge();
            let hungry = self.may_call(now) && !self.deliveries.has_ready() && self.has_room();
            let wake_at = [reporter.due(), consumer.flush_at(), self.wakes_at(now)].into_iter().flatten().min();
            if hungry && let Some(prefetch) = self.better_prefetch(consumer) {
                consumer.set_prefetch(prefetch).await?;
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                // First, because a busy worker must not look dead.
                _ = health_tick.tick() => {
                    consumer.check()?;
                    reporter.check()?;
                    self.report_health(component, reporter);
                    self.expire(reporter);
                }
                called = self.calls.ended() => self.called(reporter, called),
                confirmed = reporter.confirmed() => self.settle(consumer, confirmed?),
                delivery = consumer.next(), if hungry => self.admit(consumer, reporter, delivery?),
                () = timer::at(wake_at) => {}
            }
        }
    }

    /// Whether a further call may be made.
    fn may_call(&self, now: Instant) -> bool {
        !self.stopping
            && self.throttled_until.is_none_or(|until| until <= now)
            && self.calls.running() < self.limit.get().min(self.circuit.allowed())
    }

    /// When something can be called that cannot be called now.
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let throttled = self.throttled_until.filter(|until| *until > now);
        let wait = self.deliveries.wakes_at().filter(|_| self.may_call(now));
        [throttled, self.circuit.wakes_at(), wait].into_iter().flatten().min()
    }

    fn has_room(&self) -> bool {
        self.deliveries.waiting() < WAITING_ROOM && self.deliveries.bytes() < ROOM_BYTES
    }

    /// Another prefetch, if the present one keeps calls from being made, or takes far more from the queue, and
    /// from other workers, than is called. What is being reported counts, too.
    fn better_prefetch(&self, consumer: &Consumer) -> Option<u16> {
        let (present, unsettled) = (usize::from(consumer.prefetch()), consumer.unsettled());
        let wanted = prefetch(unsettled.max(self.limit.get()));
        let scarce = 4 * unsettled > 3 * present;
        let lavish = 4 * usize::from(wanted) <= present;
        ((scarce || lavish) && usize::from(wanted) != present).then_some(wanted)
    }

    /// Decode and admit.
    fn admit(&mut self, consumer: &mut Consumer, reporter: &mut Reporter, delivery: Delivery) {
        if delivery.redelivered {
            self.metrics.redelivered.inc();
        }
        let message_id = delivery.message_id.map(tracing::field::display);
        let order = match event::decode(&delivery.body) {
            Ok(Decoded::OrderCreated(order)) => order,
            Ok(Decoded::Unknown { event_type }) => {
                self.metrics.unknown_events.inc();
                tracing::debug!(message_id, event_type, "acknowledged an event of an unknown type");
                consumer.settle(delivery.unsettled, settlement(End::UnknownEvent));
                return;
            }
            Err(fault) => {
                self.metrics.dead_lettered(Reason::Unreadable);
                let identity = event::identity(&delivery.body);
                let order_id = identity.as_ref().map(|identity| tracing::field::display(identity.order_id));
                let correlation_id = identity.as_ref().map(|identity| identity.correlation_id.to_string());
                let bytes = delivery.body.len();
                tracing::warn!(message_id, order_id, correlation_id, bytes, %fault, "dead-lettered, unreadable");
                match identity {
                    // Its order shows it, like any other dead letter.
                    Some(identity) => {
                        let outcome = Outcome::unreadable(identity, self.name.clone(), delivery.dead_letter);
                        reporter.push(Known::Ended(Arc::new(outcome)), vec![delivery.unsettled]);
                    }
                    None => consumer.settle(delivery.unsettled, settlement(End::Unreadable)),
                }
                return;
            }
        };
        let id = DeliveryId { event: order.event_id, dead_letter: delivery.dead_letter };
        match self.deliveries.admit(id, delivery.redelivered, delivery.unsettled) {
            Admission::InHand => {}
            Admission::Known(unsettled, outcome) => reporter.push(Known::Ended(outcome), vec![unsettled]),
            Admission::New(unsettled) => {
                let Delivery { body, trace, takes_waits, resumed, redelivered, .. } = delivery;
                let Resumed { spent, unanswered, retry_until } =
                    resumed.unwrap_or_else(|| Resumed::nothing(self.retry_until(&order, id)));
                let arrived = Arrived {
                    order: order.into(),
                    body,
                    trace: trace.unwrap_or_else(TraceParent::root),
                    takes_waits,
                    spent,
                    unanswered,
                    delays: self.config.retry.delays(spent),
                    retry_until,
                };
                self.deliveries.begin(id, arrived, unsettled);
                if redelivered && takes_waits {
                    // Another worker may have attempted it. The ledger knows, and its count comes along when
                    // the message comes again.
                    self.hand_over(reporter, id, now(), None);
                }
            }
        }
    }

    /// When a delivery that arrives for the first time expires. A redrive is as fresh as an order that was just
    /// accepted.
    fn retry_until(&self, order: &event::OrderCreated, id: DeliveryId) -> Timestamp {
        let from = if id.dead_letter.is_some() { now() } else { order.occurred_at };
        later(from, self.config.retry.retry_for)
    }

    /// Calls the destination for what is ready, as far as it may be called.
    fn call_ready(&mut self, reporter: &mut Reporter, now: Instant) {
        if !self.may_call(now) {
            return;
        }
        self.deliveries.wake(now);
        while self.may_call(now) {
            let Some((id, delivery)) = self.deliveries.next_ready() else { return };
            if delivery.is_attempted() && delivery.retry_until <= event::now() {
                self.end(reporter, id, Some(Reason::Expired));
                continue;
            }
            let idempotency_key = idempotency::key(id.event, &self.name);
            let call = Call { idempotency_key, trace: delivery.trace.child() };
            self.calls.begin(id, Arc::clone(&delivery.order), call);
        }
    }

    /// Ends what waits and has expired, whether or not the destination may be called.
    fn expire(&mut self, reporter: &mut Reporter) {
        let now = now();
        for id in self.deliveries.idle() {
            let expired = |delivery: &&mut InHand| delivery.is_attempted() && delivery.retry_until <= now;
            if self.deliveries.get_mut(id).filter(expired).is_some() {
                self.end(reporter, id, Some(Reason::Expired));
            }
        }
    }

    /// A call has ended: its delivery has, too, or waits for its next attempt.
    fn called(&mut self, reporter: &mut Reporter, Called { id, broken, mut attempt, took, result }: Called) {
        let (now, running) = (Instant::now(), self.calls.running() + 1);
        if let (Some(broken), Some(delivery)) = (broken, self.deliveries.get_mut(id)) {
            self.metrics.attempted(&Err(Failure::Stale), Duration::from_millis(broken.duration_ms));
            delivery.attempts.push(broken);
            delivery.unanswered = true;
        }
        let Some(result) = result else {
            self.metrics.attempted(&Err(Failure::Unanswered), took);
            if let Some(delivery) = self.deliveries.get_mut(id) {
                delivery.attempts.push(attempt);
            }
            self.end(reporter, id, Some(Reason::WorkerPanic));
            return;
        };
        let failure = result.as_ref().err().map(|error| error.failure);
        self.metrics.attempted(&failure.map_or(Ok(()), Err), took);
        let refused =
            matches!(failure, Some(Failure::Throttled | Failure::Unanswered)) || attempt.status_code == Some(503);
        self.limit.note(refused, took, running, now);
        let closed = self.circuit.spends();
        let change = self.circuit.note(sign(&result, self.authorized), now);
        self.changed(change);
        self.authorized |= result.is_ok();

        let Some(delivery) = self.deliveries.get_mut(id) else { return };
        let situation = Situation {
            spent: delivery.spent,
            max_attempts: self.config.retry.max_attempts.get(),
            unanswered: delivery.unanswered,
            authorized: self.authorized,
            closed,
        };
        let verdict = situation.verdict(&result);
        if let Verdict::Again { spent: false, .. } = verdict {
            attempt.spent = Some(false);
        }
        delivery.attempts.push(attempt);
        delivery.unanswered |= failure == Some(Failure::Unanswered);
        match verdict {
            Verdict::Delivered => self.end(reporter, id, None),
            Verdict::Dead(reason) => self.end(reporter, id, Some(reason)),
            Verdict::Again { spent, at_least } => {
                delivery.spent += u32::from(spent);
                // The delay with its jitter comes on top of what the destination asks for, so that those that
                // were turned away together do not come back together.
                let delay = at_least.min(self.config.retry.retry_for) + delivery.delays.next_delay();
                if failure == Some(Failure::Throttled) && !at_least.is_zero() {
                    self.throttle(now + at_least.min(self.config.retry.retry_for));
                }
                self.wait(reporter, id, delay);
            }
        }
    }

    /// The destination asks to be left alone until then.
    fn throttle(&mut self, until: Instant) {
        if self.throttled_until.is_none_or(|known| known < until) {
            let seconds = until.duration_since(Instant::now()).as_secs();
            tracing::warn!(destination = %self.name, seconds, "throttled: the API asks to be left alone");
            self.throttled_until = Some(until);
        }
    }

    /// Lets a delivery wait for its next attempt: in memory if that is short and there is room, otherwise in the
    /// store.
    fn wait(&mut self, reporter: &mut Reporter, id: DeliveryId, delay: Duration) {
        let Some(delivery) = self.deliveries.get_mut(id) else { return };
        let now = now();
        let at = later(now, delay).min(delivery.retry_until.max(now));
        let delay = Duration::try_from(at.duration_since(now)).unwrap_or_default();
        tracing::debug!(
            order_id = %delivery.order.order_id, correlation_id = %delivery.order.correlation_id,
            attempts = delivery.attempts.len(), ?delay, "attempt failed, waiting"
        );
        let takes_waits = delivery.takes_waits && !delivery.unsettled.is_empty();
        if takes_waits && (self.stopping || delay > SHORT_WAIT || !self.has_room()) {
            let spent = self.deliveries.get_mut(id).map(|delivery| delivery.spent);
            return self.hand_over(reporter, id, at, spent);
        }
        let Some(delivery) = self.deliveries.get_mut(id) else { return };
        let progress = progress(&self.name, id, delivery, at, None);
        reporter.push(Known::Waits(Box::new(progress)), Vec::new());
        self.deliveries.wait(id, Instant::now() + delay);
    }

    /// Reports that a delivery waits in the store from now on. `spent` is how many of its attempts count, if this
    /// worker knows.
    fn hand_over(&mut self, reporter: &mut Reporter, id: DeliveryId, at: Timestamp, spent: Option<u32>) {
        let Some(mut delivery) = self.deliveries.take(id) else { return };
        let unsettled = std::mem::take(&mut delivery.unsettled);
        let handover = Handover {
            event: String::from_utf8_lossy(&delivery.body).into_owned(),
            traceparent: Some(delivery.trace.to_string()),
            spent,
            unanswered: delivery.unanswered,
            retry_until: delivery.retry_until,
        };
        let progress = progress(&self.name, id, &mut delivery, at, Some(handover));
        reporter.push(Known::Waits(Box::new(progress)), unsettled);
    }

    /// A delivery has ended. Only a worker that has its message may say that it is dead: without it the outcome
    /// is kept for when the message comes back.
    fn end(&mut self, reporter: &mut Reporter, id: DeliveryId, reason: Option<Reason>) {
        let Some(InHand { order, attempts, unsettled, .. }) = self.deliveries.take(id) else { return };
        let outcome = Arc::new(Outcome {
            event_id: order.event_id,
            order_id: order.order_id,
            correlation_id: order.correlation_id.clone(),
            destination: self.name.clone(),
            status: if reason.is_none() { OutcomeStatus::Delivered } else { OutcomeStatus::DeadLettered },
            reason: reason.map(Into::into),
            attempts,
            settled_at: now(),
            dead_letter: id.dead_letter,
        });
        self.metrics.finished(&outcome, order.occurred_at);
        log::ended(&outcome);
        self.deliveries.remember(&outcome);
        if reason.is_none() || !unsettled.is_empty() {
            reporter.push(Known::Ended(outcome), unsettled);
        }
    }

    fn changed(&mut self, change: Option<Change>) {
        if let Some(change) = change {
            log::circuit(&self.name, change, self.circuit.reason());
            self.metrics.circuit(self.circuit.state());
        }
    }

    fn report_health(&self, component: &Component, reporter: &Reporter) {
        let throttled = self.throttled_until.filter(|until| *until > Instant::now());
        if reporter.blocked() {
            component.down("the broker accepts no reports at the moment (memory or disk alarm)");
        } else if let Some(reason) = self.circuit.reason() {
            component.limited(format!("circuit {}: {reason}", self.circuit.state().as_str()));
        } else if throttled.is_some() {
            component.limited("throttled: the API asked to be left alone (Retry-After)");
        } else {
            component.up();
        }
    }

    /// Finishes the running calls within `grace`, and takes no new deliveries. What waits is handed over.
    async fn drain(
        &mut self,
        mut consumer: Consumer,
        mut reporter: Reporter,
        component: &Component,
    ) -> Result<(), BrokerFault> {
        let deadline = Instant::now() + self.grace;
        let mut health_tick = health::ticks();
        consumer.cancel().await;
        self.stopping = true;
        for id in self.deliveries.idle() {
            let attempted = |delivery: &&mut InHand| delivery.takes_waits && delivery.is_attempted();
            let Some(delivery) = self.deliveries.get_mut(id).filter(attempted) else { continue };
            let spent = Some(delivery.spent);
            self.hand_over(&mut reporter, id, now(), spent);
        }
        let finished = timeout_at(deadline, async {
            while self.calls.running() > 0 || !reporter.idle() {
                // In a drain, outcomes do not wait for others.
                reporter.send();
                consumer.flush();
                let wake_at = [reporter.due(), consumer.flush_at()].into_iter().flatten().min();
                tokio::select! {
                    called = self.calls.ended() => self.called(&mut reporter, called),
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
        self.calls.abort().await;
        let unfinished = self.deliveries.abandon();
        for Unfinished { identity: event::Identity { event_id, order_id, correlation_id }, state } in &unfinished {
            tracing::warn!(%order_id, %correlation_id, event_id = %event_id.0, state, "left unfinished; it is delivered again");
        }
        if !unfinished.is_empty() {
            tracing::warn!(deliveries = unfinished.len(), "left unfinished; they are delivered again");
        }
    }

    /// The only place where a reported delivery leaves its queue.
    fn settle(&mut self, consumer: &mut Consumer, confirmed: Vec<Reported>) {
        for Reported { known, unsettled } in confirmed {
            let end = match &known {
                Known::Ended(outcome) => {
                    if !unsettled.is_empty() {
                        self.deliveries.settled(outcome);
                    }
                    End::Reported(outcome.status)
                }
                Known::Waits(_) => End::HandedOver,
            };
            for delivery in unsettled {
                consumer.settle(delivery, settlement(end));
            }
        }
    }

    fn gauge(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.in_flight.set(gauge(self.deliveries.len()));
        self.metrics.concurrency.set(gauge(self.limit.get()));
    }
}

/// What is reported of a delivery that waits until `at`: the attempts that were not reported before.
fn progress(name: &Name, id: DeliveryId, delivery: &mut InHand, at: Timestamp, handover: Option<Handover>) -> Progress {
    let attempts = delivery.attempts[delivery.reported..].to_vec();
    delivery.reported = delivery.attempts.len();
    Progress {
        event_id: id.event,
        order_id: delivery.order.order_id,
        correlation_id: delivery.order.correlation_id.clone(),
        destination: name.clone(),
        dead_letter: id.dead_letter,
        attempts,
        next_attempt_at: at,
        handover,
    }
}

/// The prefetch for so many deliveries in hand.
fn prefetch(in_hand: usize) -> u16 {
    u16::try_from((PREFETCH_FACTOR * in_hand).min(MAX_PREFETCH)).unwrap_or(u16::MAX)
}

/// A time so much later.
fn later(from: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| from.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
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
        tracing::info!(queue = self.broker.names().queue(&self.name), "consuming");
        component.up();
        self.metrics.consumer_up.set(1);
        let taken = self.take(&mut consumer, &mut reporter, component, shutdown).await;
        self.metrics.consumer_up.set(0);
        taken?;
        component.down("draining");
        self.drain(consumer, reporter, component).await
    }
}
