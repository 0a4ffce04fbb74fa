//! The raw broker line: what RabbitMQ and its client can do on this machine, with nothing around them.
//!
//! One process on one thread publishes with confirms into the fan-out of two quorum queues and consumes and acknowledges
//! both. No order can be faster than this, so it is what orders are measured by.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
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
use serde::{Deserialize, Serialize};

use super::system::DESTINATIONS;

/// What the child process is told, on standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) amqp_url: String,
    pub(super) exchange: String,
    pub(super) settings: Settings,
}

/// What is published, and how.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Messages that are timed.
    pub(super) messages: u64,
    /// Messages before them, which are not.
    pub(super) warm_up: u64,
    /// Size of a message, in bytes.
    pub(super) bytes: usize,
    /// Most messages without their confirm.
    pub(super) window: usize,
    /// Most deliveries without their acknowledgement, for each queue.
    pub(super) prefetch: u16,
}

impl Settings {
    /// The line that orders are measured by.
    pub(super) fn new(messages: u64, window: usize) -> Self {
        Self { messages, warm_up: 2_000, bytes: 500, window, prefetch: 256 }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct RawLine {
    /// Messages a second, each confirmed, and consumed and acknowledged from both queues.
    pub(super) per_second: f64,
    /// CPU time of the process, in seconds for a thousand messages.
    pub(super) cpu_per_1000: f64,
}

/// The whole child process: takes its [`Job`] from standard input, and prints a [`RawLine`].
///
/// # Errors
/// The broker does not do what it is asked.
pub(super) fn main() -> Result<()> {
    let job = serde_json::from_reader(std::io::stdin().lock()).context("not a job")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let line = runtime.block_on(run(&job))?;
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}

/// Runs it. The topology is declared by the same code that declares it for orders.
async fn run(job: &Job) -> Result<RawLine> {
    let Job { amqp_url, exchange, settings } = job;
    let [one, other] = DESTINATIONS;
    let destinations: [Name; 2] = [one.parse()?, other.parse()?];
    let broker = Broker::new(amqp_url.clone().into(), "raw-broker", Names::new(exchange.clone()), destinations.clone());
    Publisher::<()>::open(&broker).await?.close().await;

    let publishing = connect(amqp_url).await?;
    let consuming = connect(amqp_url).await?;
    let queues = destinations.each_ref().map(|destination| broker.names().queue(destination));
    round(&publishing, &consuming, exchange, &queues, settings, settings.warm_up).await?;
    let cpu_before = cpu()?;
    let start = Instant::now();
    round(&publishing, &consuming, exchange, &queues, settings, settings.messages).await?;
    let took = start.elapsed();
    let cpu = cpu()?.saturating_sub(cpu_before);
    #[expect(clippy::cast_precision_loss, reason = "numbers of messages are far below 2^52")]
    let messages = settings.messages as f64;
    Ok(RawLine { per_second: messages / took.as_secs_f64(), cpu_per_1000: cpu.as_secs_f64() * 1_000.0 / messages })
}

async fn round(
    publishing: &Connection,
    consuming: &Connection,
    exchange: &str,
    queues: &[String; 2],
    settings: &Settings,
    messages: u64,
) -> Result<()> {
    let [one, other] = queues;
    tokio::try_join!(
        publish(publishing, exchange, settings, messages),
        consume(consuming, one, settings, messages),
        consume(consuming, other, settings, messages),
    )?;
    Ok(())
}

/// Keeps a window of messages in flight, and holds on to each until its confirm.
async fn publish(connection: &Connection, exchange: &str, settings: &Settings, messages: u64) -> Result<()> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let body = vec![b'x'; settings.bytes];
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut in_flight = FuturesUnordered::new();
    let mut sent = 0;
    loop {
        while sent < messages && in_flight.len() < settings.window {
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

/// Acknowledges what is in hand with one frame.
async fn consume(connection: &Connection, queue: &str, settings: &Settings, messages: u64) -> Result<()> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(settings.prefetch, BasicQosOptions::default()).await?;
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
        let Some(last) = last else { bail!("the consumer of {queue} was ended") };
        let mut ack = pin!(channel.basic_ack(last, BasicAckOptions { multiple: true }));
        if taken == messages {
            ack.await?;
        } else if let Some(sent) = ack.as_mut().now_or_never() {
            // The first poll queues the frame; waiting until it is on the wire would cost a switch between threads.
            sent?;
        }
    }
    channel.close(200, "done".into()).await.context("cannot close a channel")
}

/// A connection as ours are: with small frames, because the client keeps two rings of them.
async fn connect(amqp_url: &str) -> Result<Connection> {
    let mut uri: AMQPUri = amqp_url.parse().map_err(|_| anyhow::anyhow!("AMQP_URL is not a URL"))?;
    uri.query.frame_max = Some(8_192);
    Ok(Connection::connect_uri(uri, ConnectionProperties::default()).await?)
}

fn cpu() -> Result<Duration> {
    Ok(::tests::usage::of(std::process::id())?.cpu)
}
