//! The topology: the names, properties and declarations of everything that exists on the broker.
//!
//! Every service declares what it needs, at every connection, with the same properties: if a queue does
//! not exist yet, the fan-out silently loses its copy, despite confirms and `mandatory`.

use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::timeout;

use super::{
    BrokerFault,
    deadline::{STEP_TIMEOUT, step},
    fault::mismatch,
};
use crate::{destination::Name, origin::Origin};

/// How often a message may be returned before the broker dead-letters it.
///
/// Up to RabbitMQ 4.2 every return counts, and when a worker dies, each message that it held is
/// returned, not only the one that killed it: at the default of 20 (RabbitMQ 4), twenty crashes of a
/// worker would dead-letter its whole prefetch. At 100, a message that kills its worker every time still
/// reaches the dead-letter queue within an hour of restarts.
pub(super) const DELIVERY_LIMIT: i64 = 100;

/// From the dead-letter queue a message cannot go anywhere else: at its default limit RabbitMQ 4 would
/// delete it, so it may be taken and returned practically without limit. (3.10 has no "unlimited".)
const DEAD_LETTER_DELIVERY_LIMIT: i64 = 1_000_000;

/// What things are called on the broker. Every name derives from that of the fan-out exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    exchange: String,
}

impl Names {
    /// The names that derive from this exchange.
    #[must_use]
    pub fn new(exchange: String) -> Self {
        Self { exchange }
    }

    /// The fan-out exchange.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.exchange
    }

    /// The direct exchange that dead letters go through.
    #[must_use]
    pub fn dead_letter_exchange(&self) -> String {
        format!("{}.dlx", self.exchange)
    }

    /// The queue of a destination.
    #[must_use]
    pub fn queue(&self, destination: &Name) -> String {
        format!("{}.{destination}", self.exchange)
    }

    /// The queue of reports.
    #[must_use]
    pub fn outcomes(&self) -> String {
        format!("{}.outcomes", self.exchange)
    }

    /// The queue in which dead letters of this origin died.
    #[must_use]
    pub fn queue_of(&self, origin: &Origin) -> String {
        match origin {
            Origin::Destination(name) => self.queue(name),
            Origin::Reports => self.outcomes(),
        }
    }
}

/// The dead-letter queue of a queue.
#[must_use]
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.dlq")
}

/// Declares the exchanges, the queue of each destination, and the queue of reports, each queue with its
/// dead-letter queue.
///
/// # Errors
/// [`BrokerFault::Mismatch`] if something exists with other properties.
pub(super) async fn declare(connection: &Connection, names: &Names, destinations: &[Name]) -> Result<(), BrokerFault> {
    let channel = step("opening a channel", connection.create_channel()).await?;
    declare_exchange(&channel, names.exchange(), ExchangeKind::Fanout).await?;
    declare_exchange(&channel, &names.dead_letter_exchange(), ExchangeKind::Direct).await?;
    for destination in destinations {
        let queue = names.queue(destination);
        declare_with_dead_letters(&channel, names, &queue).await?;
        bind(&channel, &queue, names.exchange(), "").await?;
    }
    declare_with_dead_letters(&channel, names, &names.outcomes()).await?;
    step("closing a channel", channel.close(200, "declared".into())).await
}

/// A quorum queue whose dead letters are delivered at least once. That takes every argument: without
/// `reject-publish` the broker silently falls back to at most once.
async fn declare_with_dead_letters(channel: &Channel, names: &Names, queue: &str) -> Result<(), BrokerFault> {
    let dead_letters = dead_letter_queue(queue);
    declare_queue(channel, &dead_letters, dead_letter_arguments()).await?;
    bind(channel, &dead_letters, &names.dead_letter_exchange(), queue).await?;
    declare_queue(channel, queue, arguments(names, queue)).await
}

/// The arguments of a queue whose dead letters are delivered at least once.
pub(super) fn arguments(names: &Names, queue: &str) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    quorum(&[
        ("x-dead-letter-exchange", text(&names.dead_letter_exchange())),
        ("x-dead-letter-routing-key", text(queue)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT)),
    ])
}

/// The arguments of a dead-letter queue.
pub(super) fn dead_letter_arguments() -> FieldTable {
    quorum(&[("x-delivery-limit", AMQPValue::LongLongInt(DEAD_LETTER_DELIVERY_LIMIT))])
}

/// Quorum queues, even on a single node: always durable, they count deliveries and dead-letter at least
/// once. And a durable classic queue on a node that is down would silently miss a fan-out.
fn quorum(extra: &[(&str, AMQPValue)]) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    for (key, value) in extra {
        arguments.insert((*key).into(), value.clone());
    }
    arguments
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), BrokerFault> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(name.into(), kind, options, FieldTable::default());
    named("declaring an exchange", "exchange", name, declared).await
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> Result<(), BrokerFault> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declared = async { channel.queue_declare(name.into(), options, arguments).await.map(|_| ()) };
    named("declaring a queue", "queue", name, declared).await
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, routing_key: &str) -> Result<(), BrokerFault> {
    let options = QueueBindOptions::default();
    step(
        "binding a queue",
        channel.queue_bind(queue.into(), exchange.into(), routing_key.into(), options, FieldTable::default()),
    )
    .await
}

/// Like [`step`], but reports a thing with other properties as [`BrokerFault::Mismatch`].
async fn named(
    doing: &'static str,
    kind: &'static str,
    name: &str,
    future: impl Future<Output = lapin::Result<()>>,
) -> Result<(), BrokerFault> {
    match timeout(STEP_TIMEOUT, future).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fault)) => Err(match mismatch(&fault) {
            Some(difference) => BrokerFault::Mismatch { kind, name: name.to_owned(), difference },
            None => BrokerFault::from_client(doing, &fault),
        }),
        Err(_) => Err(BrokerFault::Overdue { doing, seconds: STEP_TIMEOUT.as_secs() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::NotAName;

    #[test]
    fn the_names_match_the_contract() -> Result<(), NotAName> {
        let names = Names::new("orders".into());
        assert_eq!(names.exchange(), "orders");
        assert_eq!(names.dead_letter_exchange(), "orders.dlx");
        let north: Name = "north".parse()?;
        assert_eq!(names.queue(&north), "orders.north");
        assert_eq!(dead_letter_queue(&names.queue(&north)), "orders.north.dlq");
        assert_eq!(names.outcomes(), "orders.outcomes");
        assert_eq!(names.queue_of(&Origin::Reports), names.outcomes());
        assert_eq!(names.queue_of(&north.clone().into()), names.queue(&north));
        Ok(())
    }
}
