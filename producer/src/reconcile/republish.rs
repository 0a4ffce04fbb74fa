//! Publishing overdue deliveries again, each to the one queue of its destination, under its own key.

use std::collections::HashSet;

use common::{
    broker::{
        BrokerFault,
        publisher::{Message, Publisher, Target},
    },
    destination::Name,
    event::{OrderCreatedType, now},
    order::OrderId,
};
use tokio::time::{Duration, Instant, timeout};
use uuid::Uuid;

use api::Seen;

use super::{Key, NotSwept, Reconciler, key};
use store::{Found, OutboxEntry};

/// Most deliveries that one sweep publishes again.
const AT_A_TIME: usize = 500;
/// How long all their confirms may take.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(60);

impl Reconciler {
    /// Publishes what was found and not published again lately. What is in the outbox is the relay's.
    pub(super) async fn republish(&mut self, findings: &[(Seen, Found)]) -> Result<(), NotSwept> {
        let after = self.settings.after;
        self.republished.retain(|_, at| at.elapsed() < after);
        let mut missing = Vec::new();
        let mut keys: Vec<Key> = Vec::new();
        for overdue in findings.iter().filter(|(seen, _)| *seen != Seen::Outbox).flat_map(|(_, found)| &found.overdue) {
            let Some(key) = key(overdue).filter(|key| !self.republished.contains_key(key)) else { continue };
            if keys.len() == AT_A_TIME {
                break;
            }
            missing.push(overdue);
            keys.push(key);
        }
        if keys.is_empty() {
            return Ok(());
        }
        // Not again before the bound has passed, whatever comes of it now.
        self.republished.extend(keys.into_iter().map(|key| (key, Instant::now())));
        // What has waited in the store is published from there, with what is known of it.
        let deliveries = missing.iter().filter_map(|overdue| Some((overdue.order_id?, overdue.destination.clone())));
        let waited: HashSet<_> = self.desk.wait_again(deliveries.collect(), now()).await?.into_iter().collect();
        let (mut orders, mut letters): (Vec<(OrderId, Name)>, Vec<Uuid>) = (Vec::new(), Vec::new());
        for overdue in missing {
            let delivery = overdue.order_id.map(|order_id| (order_id, overdue.destination.clone()));
            match (delivery, overdue.dead_letter) {
                (Some(delivery), _) if waited.contains(&delivery) => {}
                (_, Some(dead_letter)) => letters.push(dead_letter),
                (Some(delivery), None) => orders.push(delivery),
                (None, None) => {}
            }
        }
        let mut count = letters.len() + waited.len();
        if !letters.is_empty() {
            self.desk.send_redriven_again(letters).await?;
            self.wake.wake();
        }
        if !orders.is_empty() {
            let entries = self.desk.events_of(orders.iter().map(|(order_id, _)| *order_id).collect()).await?;
            count += self.publish(&orders, &entries).await?;
        }
        self.metrics.republished.inc_by(count as u64);
        tracing::warn!(deliveries = count, "overdue deliveries are published again, under their own keys");
        Ok(())
    }

    async fn publish(&self, orders: &[(OrderId, Name)], entries: &[OutboxEntry]) -> Result<usize, BrokerFault> {
        let mut publisher = Publisher::open(&self.broker).await?;
        for (order_id, destination) in orders {
            let Some(entry) = entries.iter().find(|entry| entry.order_id == *order_id) else { continue };
            let message = Message {
                correlation_id: Some(entry.correlation_id.clone()),
                trace: Some(entry.trace),
                takes_waits: true,
                ..Message::new(entry.event_id.0, OrderCreatedType::VALUE, entry.body.clone())
            };
            publisher.publish(&Target::Queue(self.broker.names().queue(destination)), message, ());
        }
        let mut confirmed = 0;
        let all = timeout(CONFIRMED_WITHIN, async {
            while publisher.in_flight() > 0 {
                confirmed += publisher.resolved().await?.confirmed.len();
            }
            Ok(())
        });
        // What is not confirmed is found again.
        let all = all.await.unwrap_or(Ok(()));
        publisher.close().await;
        all.map(|()| confirmed)
    }
}
