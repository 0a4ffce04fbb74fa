//! Looking at queues without taking anything: how many messages wait, and for how many consumers.

use lapin::{Channel, Connection, ErrorKind, options::QueueDeclareOptions, types::FieldTable};

use super::{
    Broker, BrokerFault,
    connection::{Role, close},
    deadline::{opened, step},
    fault::NOT_FOUND,
};

/// What stands in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait for a consumer. Those that one holds unsettled are not among them.
    pub ready: u32,
    /// Consumers.
    pub consumers: u32,
}

/// Looks at these queues, in their order, over a connection of its own. A queue that does not exist
/// holds nothing.
///
/// # Errors
/// Any [`BrokerFault`].
pub async fn depths(broker: &Broker, queues: &[String]) -> Result<Vec<Depth>, BrokerFault> {
    opened("looking at queues", async {
        let connection = broker.connect(Role::Inspect).await?;
        let mut depths = Vec::with_capacity(queues.len());
        for queue in queues {
            depths.push(depth(&connection, queue).await?);
        }
        close(&connection).await;
        Ok(depths)
    })
    .await
}

async fn depth(connection: &Connection, queue: &str) -> Result<Depth, BrokerFault> {
    const DOING: &str = "looking at a queue";
    // A channel each: the broker closes one over a queue that does not exist.
    let channel = step("opening a channel", connection.create_channel()).await?;
    let looked = step(DOING, async {
        match look(&channel, queue).await {
            Ok(depth) => Ok(Some(depth)),
            Err(fault) if is_absent(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    });
    let Some(depth) = looked.await? else { return Ok(Depth::default()) };
    step("closing a channel", channel.close(200, "looked".into())).await?;
    Ok(depth)
}

/// A passive declare: it changes nothing. The broker closes the channel over a queue that does not exist.
pub(super) async fn look(channel: &Channel, queue: &str) -> lapin::Result<Depth> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    Ok(Depth { ready: found.message_count(), consumers: found.consumer_count() })
}

fn is_absent(fault: &lapin::Error) -> bool {
    matches!(fault.kind(), ErrorKind::ProtocolError(amqp) if amqp.get_id() == NOT_FOUND)
}
