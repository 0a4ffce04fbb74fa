//! What a test looks at and does behind the services' backs, on the broker itself.

use std::{ops::ControlFlow, time::Duration};

use anyhow::{Context, Result, anyhow};
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    message::{BasicGetMessage, Delivery},
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
        BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::FieldTable,
};

use crate::waiting::{self, PATIENCE, within};

/// How long one step on the broker may take.
const STEP: Duration = Duration::from_secs(15);

/// A connection of the test's own. Each step takes a channel of its own: the broker closes one at a fault.
#[derive(Debug)]
pub struct Queues {
    connection: Connection,
}

/// A message taken from a queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its body.
    pub body: Vec<u8>,
    /// Its properties, headers too.
    pub properties: BasicProperties,
    /// The routing key it was published with last.
    pub routing_key: String,
    /// Whether it was delivered before.
    pub redelivered: bool,
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Messages ready for delivery: those with a consumer, not settled yet, are not among them.
    pub ready: u32,
    /// Consumers.
    pub consumers: u32,
}

impl Queues {
    /// Connects.
    ///
    /// # Errors
    /// The broker cannot be reached within 15 s.
    pub async fn connect(amqp_url: &str) -> Result<Self> {
        let properties = ConnectionProperties::default().with_connection_name("tests".into());
        let connection = step("connecting to the broker", Connection::connect(amqp_url, properties)).await?;
        Ok(Self { connection })
    }

    /// The lapin connection, for what is not here.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A new channel.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn channel(&self) -> Result<Channel> {
        step("opening a channel", self.connection.create_channel()).await
    }

    /// Messages and consumers, by passive declare: exact, unlike `rabbitmqctl list_queues`.
    ///
    /// # Errors
    /// There is no such queue.
    pub async fn depth(&self, queue: &str) -> Result<Depth> {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let declared = self.channel().await?;
        let declared = declared.queue_declare(queue.into(), passive, FieldTable::default());
        let declared = step(&format!("looking at queue {queue}"), declared).await?;
        Ok(Depth { ready: declared.message_count(), consumers: declared.consumer_count() })
    }

    /// Whether there is such a queue.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn exists(&self, queue: &str) -> Result<bool> {
        match self.depth(queue).await {
            Ok(_) => Ok(true),
            Err(_) if self.connection.status().connected() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Waits until the queue's depth is as wanted.
    ///
    /// # Errors
    /// It is not after 30 s; the text has what it was last.
    pub async fn wait_for_depth(&self, queue: &str, what: &str, wanted: impl Fn(Depth) -> bool) -> Result<Depth> {
        let asked = async || match self.depth(queue).await {
            Ok(depth) if wanted(depth) => ControlFlow::Break(depth),
            Ok(depth) => ControlFlow::Continue(format!("{depth:?}")),
            Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
        };
        waiting::until(&format!("queue {queue} to have {what}"), PATIENCE, asked).await
    }

    /// Waits until the queue exists and has this many consumers.
    ///
    /// # Errors
    /// It has not after 30 s.
    pub async fn wait_for_consumers(&self, queue: &str, count: u32) -> Result<()> {
        self.wait_for_depth(queue, &format!("{count} consumers"), |depth| depth.consumers == count).await.map(drop)
    }

    /// Takes the first message off the queue, if there is one.
    ///
    /// # Errors
    /// There is no such queue.
    pub async fn get(&self, queue: &str) -> Result<Option<Message>> {
        let channel = self.channel().await?;
        let got =
            step(&format!("getting from {queue}"), channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }))
                .await?;
        Ok(got.map(Message::from))
    }

    /// Takes the first message off the queue, as soon as there is one.
    ///
    /// # Errors
    /// There is no such queue, or none came within 30 s.
    pub async fn next(&self, queue: &str) -> Result<Message> {
        let channel = self.channel().await?;
        step("setting the prefetch", channel.basic_qos(1, BasicQosOptions::default())).await?;
        let consume =
            channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer = step(&format!("consuming from {queue}"), consume).await?;
        let delivery =
            within(&format!("a message in {queue}"), PATIENCE, consumer.next(), || "none".to_owned()).await?;
        let delivery = delivery.ok_or_else(|| anyhow!("the consumer of {queue} was cancelled"))??;
        step("acknowledging", delivery.ack(BasicAckOptions::default())).await?;
        step("cancelling the consumer", channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await?;
        Ok(Message::from(delivery))
    }

    /// Publishes these bytes, persistent, and waits for the broker's confirm. The exchange `""` leads to the queue named
    /// by the routing key.
    ///
    /// # Errors
    /// The broker did not take it, or it reached no queue.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<()> {
        let channel = self.channel().await?;
        step("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let properties = properties.with_delivery_mode(2);
        let publish = channel.basic_publish(exchange.into(), routing_key.into(), options, body, properties);
        let confirm = step("publishing", publish).await?;
        match step("the confirm", confirm).await? {
            lapin::Confirmation::Ack(None) => Ok(()),
            other => Err(anyhow!("publishing to {exchange:?} with {routing_key:?} was answered {other:?}")),
        }
    }

    /// Declares an exchange with nothing special about it.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn declare_exchange(&self, exchange: &str, kind: ExchangeKind) -> Result<()> {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let channel = self.channel().await?;
        let declare = channel.exchange_declare(exchange.into(), kind, options, FieldTable::default());
        step(&format!("declaring exchange {exchange}"), declare).await
    }

    /// Declares a durable queue with these arguments: to find a service's name taken, or to read along.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn declare_queue(&self, queue: &str, arguments: FieldTable) -> Result<()> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let channel = self.channel().await?;
        step(&format!("declaring queue {queue}"), channel.queue_declare(queue.into(), options, arguments))
            .await
            .map(drop)
    }

    /// Binds a queue to an exchange.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn bind(&self, queue: &str, exchange: &str, routing_key: &str) -> Result<()> {
        let channel = self.channel().await?;
        let options = QueueBindOptions::default();
        let bind =
            channel.queue_bind(queue.into(), exchange.into(), routing_key.into(), options, FieldTable::default());
        step(&format!("binding queue {queue}"), bind).await
    }

    /// Takes the binding of a queue to an exchange away.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn unbind(&self, queue: &str, exchange: &str, routing_key: &str) -> Result<()> {
        let channel = self.channel().await?;
        let unbind = channel.queue_unbind(queue.into(), exchange.into(), routing_key.into(), FieldTable::default());
        step(&format!("unbinding queue {queue}"), unbind).await
    }

    /// Throws away what is ready in a queue, and says how much it was.
    ///
    /// # Errors
    /// There is no such queue.
    pub async fn purge(&self, queue: &str) -> Result<u32> {
        let channel = self.channel().await?;
        step(&format!("purging {queue}"), channel.queue_purge(queue.into(), QueuePurgeOptions::default())).await
    }

    /// Deletes a queue with all that is in it; one that is not there is fine.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn delete_queue(&self, queue: &str) -> Result<()> {
        let channel = self.channel().await?;
        let delete = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
        step(&format!("deleting queue {queue}"), delete).await.map(drop)
    }

    /// Deletes an exchange; one that is not there is fine.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn delete_exchange(&self, exchange: &str) -> Result<()> {
        let channel = self.channel().await?;
        let delete = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default());
        step(&format!("deleting exchange {exchange}"), delete).await
    }
}

impl From<BasicGetMessage> for Message {
    fn from(message: BasicGetMessage) -> Self {
        message.delivery.into()
    }
}

impl From<Delivery> for Message {
    fn from(delivery: Delivery) -> Self {
        Self {
            body: delivery.data,
            properties: delivery.properties,
            routing_key: delivery.routing_key.to_string(),
            redelivered: delivery.redelivered,
        }
    }
}

async fn step<T>(what: &str, step: impl Future<Output = lapin::Result<T>>) -> Result<T> {
    within(what, STEP, step, || "nothing".to_owned()).await?.with_context(|| what.to_owned())
}
