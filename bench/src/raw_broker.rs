//! The raw broker line: what RabbitMQ and its client can do on this machine, with nothing around them.
//!
//! One thread publishes with confirms into a fan-out of two quorum queues, and consumes and acknowledges both. No order
//! can be faster than this, so it is what orders are measured by.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use common::{
    broker::{Broker, publisher::Publisher, topology::Names},
    destination::Name,
};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Confirmation, Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::FieldTable,
    uri::AMQPUri,
};
use serde::Serialize;

use crate::{
    campaign::Campaign,
    system::{self, DESTINATIONS},
};

/// Messages per order of the closed loop: both then run for about as long.
const MESSAGES_PER_ORDER: u64 = 3;
/// Messages before those that are measured.
const WARM_UP: u64 = 2_000;
/// Size of a message.
const BYTES: usize = 500;
/// Most unacknowledged deliveries of each queue.
const PREFETCH: u16 = 256;

/// How it went.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RawBroker {
    /// Messages per second, each confirmed, and consumed and acknowledged from both queues.
    pub(crate) per_second: f64,
    /// CPU seconds of this process per 1,000 messages.
    pub(crate) client_cpu_per_1000: f64,
    /// CPU seconds of the broker per 1,000 messages, with warm-up and declarations.
    pub(crate) broker_cpu_per_1000: Option<f64>,
}

impl Campaign {
    /// The topology is declared by the same code that declares it for orders.
    pub(crate) async fn raw_broker(&self, part: &str) -> Result<RawBroker> {
        let amqp_url = &self.servers.broker.url();
        let messages = self.options.orders * MESSAGES_PER_ORDER;
        let broker_cpu = || self.servers.broker.usage().map(|usage| usage.cpu);
        let broker_before = broker_cpu();
        let [one, other] = DESTINATIONS;
        let destinations: [Name; 2] = [one.parse()?, other.parse()?];
        let names = Names::new(self.exchange(part));
        let broker = Broker::new(amqp_url.to_owned().into(), "raw-broker", names, destinations.clone());
        Publisher::<()>::open(&broker).await?.close().await;

        let line = Line {
            publishing: connect(amqp_url).await?,
            consuming: connect(amqp_url).await?,
            exchange: broker.names().exchange().to_owned(),
            queues: destinations.each_ref().map(|destination| broker.names().queue(destination)),
            window: usize::try_from(self.options.raw_window)?,
        };
        line.run(WARM_UP).await?;
        let client_before = own_cpu()?;
        let start = Instant::now();
        line.run(messages).await?;
        let took = start.elapsed();
        let client_cpu = own_cpu()?.saturating_sub(client_before);
        let broker_cpu = broker_before.zip(broker_cpu()).map(|(before, after)| after.saturating_sub(before));
        system::remove(amqp_url, &line.exchange).await?;
        let per_1000 = |cpu: Duration, messages: u64| cpu.as_secs_f64() * 1_000.0 / messages as f64;
        Ok(RawBroker {
            per_second: messages as f64 / took.as_secs_f64(),
            client_cpu_per_1000: per_1000(client_cpu, messages),
            broker_cpu_per_1000: broker_cpu.map(|cpu| per_1000(cpu, WARM_UP + messages)),
        })
    }
}

/// Two connections, one to publish and one to consume.
struct Line {
    publishing: Connection,
    consuming: Connection,
    exchange: String,
    queues: [String; 2],
    /// Most unconfirmed messages.
    window: usize,
}

impl Line {
    /// Publishes, consumes and acknowledges this many messages.
    async fn run(&self, messages: u64) -> Result<()> {
        let [one, other] = &self.queues;
        tokio::try_join!(self.publish(messages), self.consume(one, messages), self.consume(other, messages))?;
        Ok(())
    }

    /// Keeps a window of messages in flight, each until its confirm.
    async fn publish(&self, messages: u64) -> Result<()> {
        let channel = self.publishing.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let body = vec![b'x'; BYTES];
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let exchange = self.exchange.as_str();
        let mut in_flight = FuturesUnordered::new();
        let mut sent = 0;
        loop {
            while sent < messages && in_flight.len() < self.window {
                sent += 1;
                let publish = channel.basic_publish(exchange.into(), "".into(), options, &body, properties.clone());
                in_flight.push(async move { publish.await?.await });
            }
            match in_flight.next().await {
                Some(Ok(Confirmation::Ack(None))) => {}
                Some(other) => bail!("a message was not confirmed: {other:?}"),
                None => break,
            }
        }
        channel.close(200, "done".into()).await.context("cannot close a channel")
    }

    /// Acknowledges all deliveries at hand with one frame.
    async fn consume(&self, queue: &str, messages: u64) -> Result<()> {
        let channel = self.consuming.create_channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let consume = BasicConsumeOptions::default();
        let mut stream = channel.basic_consume(queue.into(), "".into(), consume, FieldTable::default()).await?;
        let mut taken = 0;
        while taken < messages {
            let mut next = stream.next().await;
            let mut last = None;
            while let Some(delivery) = next {
                last = Some(delivery?.delivery_tag);
                taken += 1;
                next = if taken < messages { stream.next().now_or_never().flatten() } else { None };
            }
            let Some(last) = last else { bail!("the broker ended the consumer of {queue}") };
            let mut ack = pin!(channel.basic_ack(last, BasicAckOptions { multiple: true }));
            if taken == messages {
                ack.await?;
            } else if let Some(sent) = ack.as_mut().now_or_never() {
                // The first poll queues the frame; waiting until it is sent would cost a switch between threads.
                sent?;
            }
        }
        channel.close(200, "done".into()).await.context("cannot close a channel")
    }
}

/// A connection with the frame size that the services use, because the client keeps two rings of frames.
async fn connect(amqp_url: &str) -> Result<Connection> {
    let mut uri: AMQPUri = amqp_url.parse().map_err(|_| anyhow!("AMQP_URL is not a URL"))?;
    uri.query.frame_max = Some(8_192);
    Ok(Connection::connect_uri(uri, ConnectionProperties::default()).await?)
}

fn own_cpu() -> Result<Duration> {
    Ok(::tests::usage::of(std::process::id())?.cpu)
}
