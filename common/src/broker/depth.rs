//! The depth of queues: how many messages wait in them, and for how many consumers.

use lapin::{Channel, Connection, ErrorKind, options::QueueDeclareOptions, types::FieldTable};

use super::{
    Broker, BrokerFault,
    connection::{Role, close},
    deadline::{opened, step},
    fault::NOT_FOUND,
};

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait for a consumer, without those that a consumer holds unsettled.
    pub ready: u32,
    /// Consumers.
    pub consumers: u32,
}

/// The depth of each of these queues, over a separate connection. A queue that does not exist has depth
/// zero.
///
/// # Errors
/// Any [`BrokerFault`].
pub async fn depths(broker: &Broker, queues: &[String]) -> Result<Vec<Depth>, BrokerFault> {
    opened("reading the depth of queues", async {
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
    const DOING: &str = "reading the depth of a queue";
    // One channel for each: the broker closes a channel that asks for a queue which does not exist.
    let channel = step("opening a channel", connection.create_channel()).await?;
    let depth = step(DOING, async {
        match passive_depth(&channel, queue).await {
            Ok(depth) => Ok(Some(depth)),
            Err(fault) if is_absent(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    });
    let Some(depth) = depth.await? else { return Ok(Depth::default()) };
    step("closing a channel", channel.close(200, "done".into())).await?;
    Ok(depth)
}

/// A passive declaration, which changes nothing. If the queue does not exist, the broker closes the channel.
pub(super) async fn passive_depth(channel: &Channel, queue: &str) -> lapin::Result<Depth> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    Ok(Depth { ready: found.message_count(), consumers: found.consumer_count() })
}

fn is_absent(fault: &lapin::Error) -> bool {
    matches!(fault.kind(), ErrorKind::ProtocolError(amqp) if amqp.get_id() == NOT_FOUND)
}
