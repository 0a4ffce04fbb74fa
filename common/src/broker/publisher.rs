//! Publishing with confirms: one owner, a window of messages in flight, a deadline on each confirm.
//!
//! The client assigns sequence numbers under one lock and queues frames under another, so on a channel
//! that several tasks share, confirms reach the wrong message. A [`Publisher`] therefore owns its
//! channel, is not `Clone`, and polls all its publishes from one task.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{
    Broker, BrokerFault,
    connection::{Role, close},
    dead_letter::REDRIVEN,
    deadline::{opened, step},
    delivery::Resumed,
    redriven::{self, RedrivenMessage},
    topology,
};
use crate::trace_context::TraceParent;

/// How long a confirm may take. A quorum queue that has lost its majority neither confirms nor refuses;
/// only this deadline ends the wait.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);

/// The header of an event whose publisher takes deliveries that wait.
pub(super) const TAKES_WAITS: &str = "x-tandem-takes-waits";
/// The header with how many attempts of a delivery that has waited in the store count.
pub(super) const SPENT: &str = "x-tandem-spent";
/// The header of a delivery that has waited in the store and had an attempt without an answer.
pub(super) const UNANSWERED: &str = "x-tandem-unanswered";

/// The header with the time at which such a delivery expires (RFC 3339).
pub(super) const RETRY_UNTIL: &str = "x-tandem-retry-until";

/// Where a message goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// To the fan-out exchange.
    FanOut,
    /// To the queue of this name, through the default exchange.
    Queue(String),
}

/// One durable message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The AMQP `message_id`.
    pub id: Uuid,
    /// The AMQP `type`.
    pub kind: &'static str,
    /// The request that it belongs to, if any.
    pub correlation_id: Option<String>,
    /// The trace context of the caller, if any.
    pub trace: Option<TraceParent>,
    /// Whether the sender takes deliveries of it that wait.
    pub takes_waits: bool,
    /// What is known of the delivery, if it has waited in the store.
    pub resumed: Option<Resumed>,
    /// The dead letter that it redrives, if any.
    pub dead_letter: Option<Uuid>,
    /// JSON.
    pub body: Bytes,
}

impl Message {
    /// A message that is neither redriven nor resumed.
    #[must_use]
    pub fn new(id: Uuid, kind: &'static str, body: Bytes) -> Self {
        Self { id, kind, correlation_id: None, trace: None, takes_waits: false, resumed: None, dead_letter: None, body }
    }
}

/// What happened to messages since the last call.
#[derive(Debug)]
pub struct Resolved<T> {
    /// Every queue has them.
    pub confirmed: Vec<T>,
    /// The broker refused them because a queue is full; other queues may have them.
    pub refused: Vec<T>,
}

/// A channel in confirm mode, and the messages in flight, each with a token of type `T`.
#[derive(Debug)]
pub struct Publisher<T> {
    connection: Connection,
    channel: Channel,
    exchange: String,
    in_flight: FuturesUnordered<Confirm<T>>,
    sent: Sent,
}

type Confirm<T> = Pin<Box<dyn Future<Output = (u64, T, lapin::Result<Confirmation>)> + Send>>;

impl<T: Send + 'static> Publisher<T> {
    /// Connects, declares everything that the process needs, and opens a channel in confirm mode.
    ///
    /// # Errors
    /// Any [`BrokerFault`].
    pub async fn open(broker: &Broker) -> Result<Self, BrokerFault> {
        opened("opening a session to publish", Self::steps(broker, Role::Publish)).await
    }

    /// The same for redriven messages, whose headers may come from anyone.
    ///
    /// # Errors
    /// Any [`BrokerFault`].
    pub async fn open_to_redrive(broker: &Broker) -> Result<Self, BrokerFault> {
        opened("opening a session to redrive", Self::steps(broker, Role::Redrive)).await
    }

    async fn steps(broker: &Broker, role: Role) -> Result<Self, BrokerFault> {
        let connection = broker.connect(role).await?;
        topology::declare(&connection, broker.names(), broker.destinations()).await?;
        let channel = step("opening a channel", connection.create_channel()).await?;
        step("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self {
            connection,
            channel,
            exchange: broker.names().exchange().to_owned(),
            in_flight: FuturesUnordered::new(),
            sent: Sent::default(),
        })
    }

    /// How many messages wait for their confirm.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the broker blocks publishers at the moment (memory or disk alarm).
    #[must_use]
    pub fn blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Checks that the session is open. While nothing is in flight, nothing else would notice its end.
    ///
    /// # Errors
    /// The connection or the channel is closed.
    pub fn check(&self) -> Result<(), BrokerFault> {
        if self.connection.status().connected() && self.channel.status().connected() {
            Ok(())
        } else {
            Err(BrokerFault::Lost { doing: "publishing", cause: "the connection is closed".to_owned() })
        }
    }

    /// Sends a message. [`Publisher::resolved`] returns `token` with the confirm.
    pub fn publish(&mut self, target: &Target, message: Message, token: T) {
        let (exchange, routing_key) = match target {
            Target::FanOut => (self.exchange.as_str().into(), "".into()),
            Target::Queue(queue) => ("".into(), queue.as_str().into()),
        };
        self.send(exchange, routing_key, properties(&message), message.body, token);
    }

    /// Sends a dead letter, unchanged, to the queue of this name.
    pub fn publish_redriven(&mut self, queue: &str, message: RedrivenMessage, token: T) {
        self.send("".into(), queue.into(), redriven::properties(&message), message.body, token);
    }

    fn send(
        &mut self,
        exchange: ShortString,
        routing_key: ShortString,
        properties: BasicProperties,
        body: Bytes,
        token: T,
    ) {
        let number = self.sent.push(Instant::now() + CONFIRM_TIMEOUT);
        let channel = self.channel.clone();
        let publish = async move {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let confirmed = match channel.basic_publish(exchange, routing_key, options, &body, properties).await {
                Ok(confirm) => confirm.await,
                Err(fault) => Err(fault),
            };
            (number, token, confirmed)
        };
        self.in_flight.push(Box::pin(publish));
    }

    /// Waits until at least one message in flight is resolved, and returns all that are resolved by then.
    /// Never returns while nothing is in flight.
    ///
    /// Cancellation safe: a confirm is either in a returned [`Resolved`] or still in flight.
    ///
    /// # Errors
    /// After an error, none of the messages in flight counts as published, and the publisher must not be
    /// used again. [`BrokerFault::Returned`]: no queue is bound. [`BrokerFault::Overdue`]: a confirm is
    /// missing although the broker does not block publishers.
    pub async fn resolved(&mut self) -> Result<Resolved<T>, BrokerFault> {
        let first = loop {
            let Some(deadline) = self.sent.oldest() else {
                return std::future::pending().await;
            };
            match timeout_at(deadline, self.in_flight.next()).await {
                Ok(Some(first)) => break first,
                Ok(None) => return std::future::pending().await,
                // Once the broker accepts messages again, each of them gets the full time.
                Err(_) if self.blocked() => self.sent.postpone(Instant::now() + CONFIRM_TIMEOUT),
                Err(_) => return Err(Self::overdue()),
            }
        };
        self.resolve(first)
    }

    /// The same without a deadline, for a caller that keeps its own because it does not wait for all of them.
    ///
    /// # Errors
    /// As [`Publisher::resolved`], without [`BrokerFault::Overdue`].
    pub async fn resolved_at_last(&mut self) -> Result<Resolved<T>, BrokerFault> {
        match self.in_flight.next().await {
            Some(first) => self.resolve(first),
            None => std::future::pending().await,
        }
    }

    /// A confirm is missing for [`CONFIRM_TIMEOUT`].
    #[must_use]
    pub fn overdue() -> BrokerFault {
        BrokerFault::Overdue { doing: "waiting for a confirm", seconds: CONFIRM_TIMEOUT.as_secs() }
    }

    fn resolve(&mut self, first: (u64, T, lapin::Result<Confirmation>)) -> Result<Resolved<T>, BrokerFault> {
        let mut resolved = Resolved { confirmed: Vec::new(), refused: Vec::new() };
        let mut returned = Vec::new();
        // Everything that is resolved by now is judged together: the client may attach a returned message
        // to the confirm of another one that resolved earlier, so with one return among these, no plain
        // ack can be trusted.
        let mut next = Some(first);
        while let Some((number, token, confirmation)) = next {
            self.sent.done(number);
            match confirmation.map_err(|fault| BrokerFault::from_client("publishing", &fault))? {
                Confirmation::Ack(None) => resolved.confirmed.push(token),
                Confirmation::Nack(None) => resolved.refused.push(token),
                Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message)) => {
                    let id = message.delivery.properties.message_id().as_ref();
                    returned.push(id.map_or_else(|| "without an id".to_owned(), ToString::to_string));
                }
                Confirmation::NotRequested => {
                    return Err(BrokerFault::Lost {
                        doing: "publishing",
                        cause: "the channel is not in confirm mode".to_owned(),
                    });
                }
            }
            next = self.in_flight.next().now_or_never().flatten();
        }
        if returned.is_empty() { Ok(resolved) } else { Err(BrokerFault::Returned { message_ids: returned }) }
    }

    /// Closes the connection cleanly. What is in flight stays unconfirmed.
    pub async fn close(self) {
        close(&self.connection).await;
    }
}

fn properties(message: &Message) -> BasicProperties {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_message_id(message.id.to_string().into())
        .with_type(message.kind.into())
        .with_timestamp(seconds);
    if let Some(correlation_id) = &message.correlation_id {
        properties = properties.with_correlation_id(correlation_id.as_str().into());
    }
    let mut headers = FieldTable::default();
    let mut header = |name: &str, text: String| {
        headers.insert(name.into(), AMQPValue::LongString(text.into()));
    };
    if let Some(trace) = message.trace {
        header("traceparent", trace.to_string());
    }
    if message.takes_waits {
        header(TAKES_WAITS, "1".to_owned());
    }
    if let Some(Resumed { spent, unanswered, retry_until }) = message.resumed {
        header(SPENT, spent.to_string());
        header(RETRY_UNTIL, retry_until.to_string());
        if unanswered {
            header(UNANSWERED, "1".to_owned());
        }
    }
    if let Some(dead_letter) = message.dead_letter {
        header(REDRIVEN, dead_letter.to_string());
    }
    if !headers.inner().is_empty() {
        properties = properties.with_headers(headers);
    }
    properties
}

/// The deadline of each message in flight, by its number. One that is never confirmed must not keep the numbers of
/// those after it.
#[derive(Debug, Default)]
struct Sent {
    last: u64,
    deadlines: BTreeMap<u64, Instant>,
}

impl Sent {
    fn push(&mut self, deadline: Instant) -> u64 {
        self.last += 1;
        self.deadlines.insert(self.last, deadline);
        self.last
    }

    fn done(&mut self, number: u64) {
        self.deadlines.remove(&number);
    }

    fn oldest(&self) -> Option<Instant> {
        self.deadlines.values().next().copied()
    }

    fn postpone(&mut self, deadline: Instant) {
        self.deadlines.values_mut().for_each(|waiting| *waiting = deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_unconfirmed_message_sets_the_deadline() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sent = Sent::default();
        assert_eq!(sent.oldest(), None);
        let numbers: Vec<_> = (1..=3).map(|second| sent.push(at(second))).collect();
        sent.done(numbers[1]);
        assert_eq!(sent.oldest(), Some(at(1)));
        sent.done(numbers[0]);
        assert_eq!(sent.oldest(), Some(at(3)));
        sent.postpone(at(9));
        assert_eq!(sent.oldest(), Some(at(9)));
        sent.done(numbers[2]);
        assert_eq!(sent.oldest(), None);
        assert_eq!(sent.push(at(4)), 4);
        assert_eq!(sent.oldest(), Some(at(4)));
    }
}
