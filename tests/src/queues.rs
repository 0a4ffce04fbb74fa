//! What a test sees and does on the broker directly.

use std::ops::ControlFlow;

use anyhow::{Context, Result, anyhow};
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    message::{BasicGetMessage, Delivery},
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
        BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
        QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::FieldTable,
};

use uuid::Uuid;

use crate::waiting::{self, PATIENCE, within};

/// A connection of the test. Each step opens a channel, because the broker closes a channel on a fault.
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

/// The depth of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Messages ready for delivery, without those that a consumer has not settled yet.
    pub ready: u32,
    /// Consumers.
    pub consumers: u32,
}

impl Queues {
    /// Connects.
    ///
    /// # Errors
    /// The broker cannot be reached in time.
    pub async fn connect(amqp_url: &str) -> Result<Self> {
        let properties = ConnectionProperties::default().with_connection_name("tests".into());
        let connection = step("connecting to the broker", Connection::connect(amqp_url, properties)).await?;
        Ok(Self { connection })
    }

    /// A new channel.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn channel(&self) -> Result<Channel> {
        step("opening a channel", self.connection.create_channel()).await
    }

    /// Messages and consumers, by passive declare, which is exact, unlike `rabbitmqctl list_queues`.
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
    /// It is not in time; the text has what it was last.
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
    /// It has not in time.
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

    /// Takes the first message off the queue, once there is one.
    ///
    /// # Errors
    /// There is no such queue, or none came in time.
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

    /// Publishes a persistent message with this body, and waits for the broker's confirm. The exchange `""` leads to the
    /// queue named by the routing key.
    ///
    /// # Errors
    /// The broker did not confirm it, or it reached no queue.
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
            other => Err(anyhow!("publishing to {exchange:?} with {routing_key:?} returned {other:?}")),
        }
    }

    /// Declares a durable exchange without arguments.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn declare_exchange(&self, exchange: &str, kind: ExchangeKind) -> Result<()> {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let channel = self.channel().await?;
        let declare = channel.exchange_declare(exchange.into(), kind, options, FieldTable::default());
        step(&format!("declaring exchange {exchange}"), declare).await
    }

    /// Declares a durable queue with these arguments, in place of one of a service.
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

    /// Declares a queue that goes with this connection, and returns the name that the broker gave it.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn declare_exclusive_queue(&self) -> Result<String> {
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let channel = self.channel().await?;
        let declare = channel.queue_declare("".into(), options, FieldTable::default());
        Ok(step("declaring an exclusive queue", declare).await?.name().to_string())
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

    /// Removes the binding of a queue to an exchange.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn unbind(&self, queue: &str, exchange: &str, routing_key: &str) -> Result<()> {
        let channel = self.channel().await?;
        let unbind = channel.queue_unbind(queue.into(), exchange.into(), routing_key.into(), FieldTable::default());
        step(&format!("unbinding queue {queue}"), unbind).await
    }

    /// Purges a queue, and returns how many messages were ready.
    ///
    /// # Errors
    /// There is no such queue.
    pub async fn purge(&self, queue: &str) -> Result<u32> {
        let channel = self.channel().await?;
        step(&format!("purging {queue}"), channel.queue_purge(queue.into(), QueuePurgeOptions::default())).await
    }

    /// Deletes a queue that has no dead-letter exchange, with all that is in it; a missing one is fine.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn delete_queue(&self, queue: &str) -> Result<()> {
        let channel = self.channel().await?;
        let delete = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
        step(&format!("deleting queue {queue}"), delete).await.map(drop)
    }

    /// Deletes a queue whose dead letters go through this exchange at least once, under the queue's name as their
    /// routing key, once a dead letter of this call has gone that way; a missing queue is fine.
    ///
    /// RabbitMQ runs a worker for the dead letters of each such queue, all of them under one supervisor. A queue that
    /// is deleted while its worker makes its first request takes the supervisor with it, and until the node is
    /// restarted, every use of such a queue, old or new, fails with `INTERNAL_ERROR`. A worker that has forwarded a dead letter is
    /// beyond that point.
    ///
    /// A consumer of the queue must reject a message that is not JSON; without consumers, this does.
    ///
    /// # Errors
    /// The broker refuses, or no dead letter arrives in time: the queue is left as it is.
    pub async fn delete_dead_lettering_queue(&self, queue: &str, dead_letter_exchange: &str) -> Result<()> {
        if !self.exists(queue).await? {
            return Ok(());
        }
        // Closing it gives back what was taken below.
        let channel = self.channel().await?;
        let witness = self.declare_exclusive_queue().await?;
        self.bind(&witness, dead_letter_exchange, queue).await?;
        let id = Uuid::new_v4().to_string();
        let marked = BasicProperties::default().with_message_id(id.as_str().into());
        self.publish("", queue, b"to be dead-lettered", marked).await?;
        let is_ours =
            |message: &BasicGetMessage| message.properties.message_id().as_ref().is_some_and(|it| it.as_str() == id);
        let get = async |queue: &str| {
            step(&format!("getting from {queue}"), channel.basic_get(queue.into(), BasicGetOptions::default())).await
        };
        let forwarded = async || {
            while let Some(message) = get(&witness).await? {
                if is_ours(&message) {
                    return Ok(true);
                }
            }
            if self.depth(queue).await?.consumers == 0
                && let Some(message) = get(queue).await?.filter(is_ours)
            {
                step("rejecting", message.nack(BasicNackOptions::default())).await?;
            }
            anyhow::Ok(false)
        };
        let asked = async || match forwarded().await {
            Ok(true) => ControlFlow::Break(()),
            Ok(false) => ControlFlow::Continue("none".to_owned()),
            Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
        };
        waiting::until(&format!("a dead letter of {queue}"), PATIENCE, asked).await?;
        self.delete_queue(queue).await
    }

    /// Deletes an exchange; a missing one is fine.
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
    within(what, PATIENCE, step, || "nothing".to_owned()).await?.with_context(|| what.to_owned())
}
