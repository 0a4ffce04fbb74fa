//! The processes of a system, and its names on the broker.

use anyhow::Result;

use crate::queues::Queues;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes orders.
    Producer,
    /// Calls the inventory API.
    Inventory,
    /// Calls the fulfillment API.
    Fulfillment,
}

/// The names on the broker, as the contract derives them from that of the exchange. Repeated here on purpose: a test
/// must not take them from what it tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    exchange: String,
}

impl Role {
    /// The name of the binary.
    #[must_use]
    pub fn binary(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Inventory => "worker-inventory",
            Self::Fulfillment => "worker-fulfillment",
        }
    }
}

impl Names {
    /// Those that follow from the name of the exchange.
    #[must_use]
    pub fn new(exchange: String) -> Self {
        Self { exchange }
    }

    /// The fan-out exchange.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.exchange
    }

    /// The queue of a destination.
    #[must_use]
    pub fn queue(&self, destination: &str) -> String {
        format!("{}.{destination}", self.exchange)
    }

    /// The queue of the inventory worker.
    #[must_use]
    pub fn inventory(&self) -> String {
        self.queue("inventory")
    }

    /// The queue of the fulfillment worker.
    #[must_use]
    pub fn fulfillment(&self) -> String {
        self.queue("fulfillment")
    }

    /// The queue of reports.
    #[must_use]
    pub fn outcomes(&self) -> String {
        self.queue("outcomes")
    }

    /// The dead-letter queue of a destination, or of `outcomes`.
    #[must_use]
    pub fn dead_letters(&self, destination: &str) -> String {
        format!("{}.dlq", self.queue(destination))
    }

    /// The dead-letter exchange.
    #[must_use]
    pub fn dead_letter_exchange(&self) -> String {
        format!("{}.dlx", self.exchange)
    }

    /// Deletes all that there is for these destinations, and for reports.
    ///
    /// # Errors
    /// The broker refuses, or a queue does not show that it may be deleted.
    pub async fn delete(&self, queues: &Queues, destinations: &[&str]) -> Result<()> {
        let dead_letter_exchange = self.dead_letter_exchange();
        for destination in destinations.iter().chain(&["outcomes"]) {
            let queue = self.queue(destination);
            if queues.exists(&queue).await? {
                // Room for one more message.
                queues.purge(&queue).await?;
                queues.delete_dead_lettering_queue(&queue, &dead_letter_exchange).await?;
            }
            queues.delete_queue(&self.dead_letters(destination)).await?;
        }
        queues.delete_exchange(&self.exchange).await?;
        queues.delete_exchange(&dead_letter_exchange).await
    }
}
