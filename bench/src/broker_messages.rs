//! Messages that went through the broker, as the broker counts them.

use ::tests::broker::Broker;
use anyhow::{Context as _, Result};
use serde::Serialize;

/// Messages since the node was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BrokerMessages {
    received: u64,
    delivered: u64,
}

/// Messages per order.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct MessagesPerOrder {
    /// Published to the broker: the event, and the order's share of the reports.
    pub(crate) published: f64,
    /// Delivered by the broker: the event to each worker, and the order's share of the reports to the ledger.
    pub(crate) delivered: f64,
}

impl BrokerMessages {
    /// The counts now; `None` if the broker was not started here. Takes about 2 s.
    pub(crate) async fn now(broker: &Broker) -> Option<Self> {
        let text = broker.ctl(&["eval", "rabbit_global_counters:overview()."]).await.ok()?;
        Self::parse(&text).ok()
    }

    /// The difference, per order.
    pub(crate) fn since(self, before: Self, orders: u64) -> MessagesPerOrder {
        let per_order = |now: u64, before: u64| now.saturating_sub(before) as f64 / orders as f64;
        MessagesPerOrder {
            published: per_order(self.received, before.received),
            delivered: per_order(self.delivered, before.delivered),
        }
    }

    /// An Erlang term: a map of maps of counters, one for each protocol and each kind of queue. They are added up.
    fn parse(term: &str) -> Result<Self> {
        let sum = |name: &str| {
            let mut found = None;
            for (at, name) in term.match_indices(name) {
                let value = term[at + name.len()..].trim_start_matches([' ', '\n', '=', '>']);
                let digits = value.split(|digit: char| !digit.is_ascii_digit()).next().unwrap_or_default();
                *found.get_or_insert(0) += digits.parse::<u64>().unwrap_or_default();
            }
            found.with_context(|| format!("no counter {name}"))
        };
        Ok(Self { received: sum("messages_received_total")?, delivered: sum("messages_delivered_total")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_all_kinds_of_queues_are_added_up() {
        let term = "#{[{protocol,amqp091}] =>\n #{messages_received_confirm_total => 7,messages_received_total => 22},\n \
            [{queue_type,rabbit_classic_queue}] =>\n #{messages_delivered_total => 3},\n \
            [{queue_type,rabbit_quorum_queue}] =>\n #{messages_delivered_get_auto_ack_total => 9,\n  \
            messages_delivered_total =>\n 40}}";
        let messages = BrokerMessages::parse(term).unwrap();
        assert_eq!((messages.received, messages.delivered), (22, 43));
        assert!(BrokerMessages::parse("{error,nodedown}").is_err());
    }
}
