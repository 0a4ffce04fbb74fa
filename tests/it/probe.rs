//! A queue with a copy of every event of a system.

use anyhow::Result;
use lapin::options::BasicGetOptions;
use tests::{queues::Message, system::System};

/// The queue, which ends with the connection of the test.
pub(crate) struct Probe(String);

impl Probe {
    /// Declares and binds it.
    pub(crate) async fn on(system: &System) -> Result<Self> {
        let queues = system.queues().await?;
        let name = queues.declare_exclusive_queue().await?;
        queues.bind(&name, system.names.exchange(), "").await?;
        Ok(Self(name))
    }

    /// Its name.
    pub(crate) fn queue(&self) -> &str {
        &self.0
    }

    /// The next event on the exchange.
    pub(crate) async fn next(&self, system: &System) -> Result<Message> {
        system.queues().await?.next(&self.0).await
    }

    /// All events that are in the queue now.
    pub(crate) async fn take(&self, system: &System) -> Result<Vec<Message>> {
        let channel = system.queues().await?.channel().await?;
        let mut taken = Vec::new();
        while let Some(event) = channel.basic_get(self.0.as_str().into(), BasicGetOptions { no_ack: true }).await? {
            taken.push(event.into());
        }
        Ok(taken)
    }

    /// Publishes the event again, with the same body and properties, to every queue.
    pub(crate) async fn publish_again(&self, system: &System, event: &Message) -> Result<()> {
        let queues = system.queues().await?;
        queues.publish(system.names.exchange(), "", &event.body, event.properties.clone()).await
    }
}
