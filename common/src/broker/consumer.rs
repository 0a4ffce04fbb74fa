//! Consuming: deliveries in, settlements out, on a separate connection.

use std::{collections::VecDeque, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    Channel, Connection,
    message::Delivery as Raw,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{
    Broker, BrokerFault,
    connection::{FrameLimit, Role, close},
    dead_letter::{self, DeadLetter, REDRIVEN},
    deadline::{CLOSE_TIMEOUT, opened, step},
    delivery::{Delivery, Resumed, Settlement, Unsettled, Window},
    publisher::{RETRY_UNTIL, SPENT, TAKES_WAITS, UNANSWERED},
    topology,
};
use crate::trace_context::TraceParent;

/// How long a finished delivery waits for slower ones before it, so that one frame acknowledges all
/// of them.
const STRAGGLER_WAIT: Duration = Duration::from_millis(50);

/// A consumer of one queue.
///
/// It has its own connection: while the broker blocks publishers, nothing is written on a connection
/// that has published, not even acknowledgements.
#[derive(Debug)]
pub struct Consumer {
    connection: Connection,
    channel: Channel,
    stream: lapin::Consumer,
    /// Earlier ones, which were cancelled: what the broker had sent to them by then comes first.
    cancelled: VecDeque<lapin::Consumer>,
    queue: String,
    prefetch: u16,
    frames: FrameLimit,
    window: Window,
    stragglers_since: Option<Instant>,
}

impl Consumer {
    /// Connects, declares everything that the process needs, and consumes `queue` with at most `prefetch`
    /// unsettled deliveries.
    ///
    /// # Errors
    /// Any [`BrokerFault`].
    pub async fn open(broker: &Broker, queue: String, prefetch: u16) -> Result<Self, BrokerFault> {
        opened("opening a session to consume", Self::steps(broker, queue, prefetch)).await
    }

    async fn steps(broker: &Broker, queue: String, prefetch: u16) -> Result<Self, BrokerFault> {
        let connection = broker.connect(Role::Consume).await?;
        topology::declare(&connection, broker.names(), broker.destinations()).await?;
        let channel = step("opening a channel", connection.create_channel()).await?;
        let stream = consume(&channel, &queue, prefetch).await?;
        let (frames, window) = (broker.frames().clone(), Window::default());
        let cancelled = VecDeque::new();
        Ok(Self { connection, channel, stream, cancelled, queue, prefetch, frames, window, stragglers_since: None })
    }

    /// The most unsettled deliveries that the broker hands out.
    #[must_use]
    pub fn prefetch(&self) -> u16 {
        self.prefetch
    }

    /// How many deliveries were taken and are not settled, give or take those that were settled out of turn.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.window.len()
    }

    /// Changes the prefetch. It is fixed for a consumer of a quorum queue, so this takes another one, on the
    /// same channel: nothing goes back to the queue, and what was delivered can be settled.
    ///
    /// # Errors
    /// The session is over.
    pub async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerFault> {
        let cancel = self.channel.basic_cancel(self.stream.tag(), BasicCancelOptions::default());
        step("changing the prefetch", cancel).await?;
        let stream = consume(&self.channel, &self.queue, prefetch).await?;
        self.cancelled.push_back(std::mem::replace(&mut self.stream, stream));
        self.prefetch = prefetch;
        Ok(())
    }

    /// The next delivery.
    ///
    /// Cancellation safe.
    ///
    /// # Errors
    /// The session is over: the connection, the channel or the consumer has ended. A stream that merely
    /// ends is a fault too, because this is not called after [`Consumer::cancel`].
    pub async fn next(&mut self) -> Result<Delivery, BrokerFault> {
        Ok(delivery(self.next_raw().await?))
    }

    /// The next delivery, with everything that came with it.
    ///
    /// Cancellation safe.
    ///
    /// # Errors
    /// As for [`Consumer::next`].
    pub async fn next_dead_letter(&mut self) -> Result<(Unsettled, DeadLetter), BrokerFault> {
        let raw = self.next_raw().await?;
        let (headers, properties, deaths) = dead_letter::read(&raw.properties);
        let Delivery { unsettled, body, redelivered, message_id, .. } = delivery(raw);
        Ok((unsettled, DeadLetter { body, redelivered, message_id, headers, properties, deaths }))
    }

    async fn next_raw(&mut self) -> Result<Raw, BrokerFault> {
        while let Some(cancelled) = self.cancelled.front_mut() {
            match cancelled.next().await {
                Some(next) => return self.received(Some(next)),
                None => self.cancelled.pop_front(),
            };
        }
        let next = self.stream.next().await;
        self.received(next)
    }

    fn received(&mut self, next: Option<lapin::Result<Raw>>) -> Result<Raw, BrokerFault> {
        match next {
            Some(Ok(raw)) if self.is_open() => {
                self.window.delivered(raw.delivery_tag);
                Ok(raw)
            }
            // What is still buffered from a lost connection will be delivered again.
            Some(Ok(_)) => Err(self.end()),
            Some(Err(fault)) => Err(self.ended_by(&fault)),
            None => Err(BrokerFault::ConsumerEnded { queue: self.queue.clone() }),
        }
    }

    /// Checks that the session is open. A caller that is taking no deliveries would not notice its end.
    ///
    /// # Errors
    /// The connection or the channel is closed.
    pub fn check(&mut self) -> Result<(), BrokerFault> {
        if self.is_open() { Ok(()) } else { Err(self.end()) }
    }

    fn is_open(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// What ended the session: it is queued behind the deliveries that came before it.
    fn end(&mut self) -> BrokerFault {
        while let Some(Some(next)) = self.stream.next().now_or_never() {
            if let Err(fault) = next {
                return self.ended_by(&fault);
            }
        }
        BrokerFault::Lost { doing: "consuming", cause: "the connection is closed".to_owned() }
    }

    fn ended_by(&self, fault: &lapin::Error) -> BrokerFault {
        let fault = BrokerFault::from_client("consuming", fault);
        if matches!(fault, BrokerFault::FrameTooLarge { .. }) {
            self.frames.too_small();
        }
        fault
    }

    /// Settles a delivery. Acknowledgements are collected, and [`Consumer::flush`] sends them.
    pub fn settle(&mut self, unsettled: Unsettled, settlement: Settlement) {
        let Unsettled { tag } = unsettled;
        match settlement {
            Settlement::Ack => self.window.ready(tag),
            Settlement::DeadLetter => {
                self.window.settled(tag);
                let options = BasicNackOptions { requeue: false, multiple: false };
                send(self.channel.basic_nack(tag, options));
            }
        }
    }

    /// Acknowledges what can be acknowledged in one frame, and individually what has waited too long for
    /// that.
    pub fn flush(&mut self) {
        if let Some(tag) = self.window.take_prefix() {
            send(self.channel.basic_ack(tag, BasicAckOptions { multiple: true }));
        }
        if self.window.waiting() == 0 {
            self.stragglers_since = None;
            return;
        }
        let since = *self.stragglers_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= STRAGGLER_WAIT || self.window.waiting() >= usize::from(self.prefetch) / 4 {
            self.flush_all();
        }
    }

    /// Sends every acknowledgement, individually where necessary.
    pub fn flush_all(&mut self) {
        if let Some(tag) = self.window.take_prefix() {
            send(self.channel.basic_ack(tag, BasicAckOptions { multiple: true }));
        }
        for tag in self.window.take_stragglers() {
            send(self.channel.basic_ack(tag, BasicAckOptions { multiple: false }));
        }
        self.stragglers_since = None;
    }

    /// When to call [`Consumer::flush`] if nothing else happens.
    #[must_use]
    pub fn flush_at(&self) -> Option<Instant> {
        self.stragglers_since.map(|since| since + STRAGGLER_WAIT)
    }

    /// Asks the broker to send nothing more. What it has already sent and was not taken goes back when the
    /// channel closes. Does not wait for a broker that is slow to answer.
    pub async fn cancel(&mut self) {
        let tag = self.stream.tag();
        let cancelled = timeout(CLOSE_TIMEOUT, self.channel.basic_cancel(tag, BasicCancelOptions::default())).await;
        if !matches!(cancelled, Ok(Ok(()))) {
            tracing::debug!(queue = self.queue, "the consumer could not be cancelled");
        }
    }

    /// Sends the remaining acknowledgements, then closes the channel, which confirms that the broker has read
    /// them, and the connection.
    pub async fn close(mut self) {
        self.flush_all();
        let closed = timeout(CLOSE_TIMEOUT, self.channel.close(200, "done".into())).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::warn!(queue = self.queue, "the last acknowledgements may not have arrived");
        }
        close(&self.connection).await;
    }
}

async fn consume(channel: &Channel, queue: &str, prefetch: u16) -> Result<lapin::Consumer, BrokerFault> {
    // Zero would mean no limit, and the client's buffer has none either.
    step("setting the prefetch", channel.basic_qos(prefetch.max(1), BasicQosOptions::default())).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    step("starting to consume", channel.basic_consume(queue.into(), "".into(), options, arguments)).await
}

/// Queues a frame without waiting until it is on the wire: the first poll queues it, and waiting would
/// cost two thread switches for each. If the channel has ended, the next delivery shows it, and what was
/// left unsettled is delivered again.
fn send(frame: impl Future<Output = lapin::Result<()>>) {
    if let Some(Err(fault)) = frame.now_or_never() {
        tracing::debug!(%fault, "not settled, will be delivered again");
    }
}

fn delivery(raw: Raw) -> Delivery {
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    let header = |name: &str| match raw.properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    };
    let trace = header("traceparent").and_then(TraceParent::parse);
    let dead_letter = header(REDRIVEN).and_then(|id| Uuid::parse_str(id).ok());
    Delivery {
        unsettled: Unsettled { tag: raw.delivery_tag },
        redelivered: raw.redelivered,
        message_id: text(raw.properties.message_id()).and_then(|id| Uuid::parse_str(&id).ok()),
        trace,
        dead_letter,
        resumed: resumed(header),
        takes_waits: header(TAKES_WAITS).is_some(),
        body: raw.data,
    }
}

fn resumed<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<Resumed> {
    let spent = header(SPENT)?.parse().ok()?;
    let retry_until = header(RETRY_UNTIL)?.parse().ok()?;
    Some(Resumed { spent, unanswered: header(UNANSWERED).is_some(), retry_until })
}
