//! What became of every order: when it was accepted, and when and under which key each API was called.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;
use tokio::sync::Notify;
use uuid::Uuid;

use super::latency::{Latencies, Quantiles};
use crate::system::DESTINATIONS;

/// How many APIs are called for each order.
pub(super) const API_COUNT: usize = DESTINATIONS.len();

/// The book of one system.
#[derive(Debug, Default)]
pub(super) struct Book {
    orders: Mutex<Orders>,
    /// Notified when [`Orders::awaited`] orders are delivered.
    reached: Notify,
}

#[derive(Debug, Default)]
struct Orders {
    by_id: HashMap<Uuid, Order>,
    accepted: usize,
    /// When each order was delivered to both APIs, in that sequence.
    delivered: Vec<Instant>,
    awaited: usize,
}

#[derive(Debug, Default)]
struct Order {
    accepted: Option<Accepted>,
    calls: [Option<Calls>; API_COUNT],
    waiter: Option<Arc<Notify>>,
}

#[derive(Clone, Copy, Debug)]
struct Accepted {
    /// When the order was to be sent.
    intended: Instant,
    at: Instant,
}

/// The calls of one API about one order.
#[derive(Clone, Copy, Debug)]
struct Calls {
    first: Instant,
    count: u32,
    /// The hash of the first call's key; `None` for a call without a key.
    key: Option<u64>,
    /// Whether a later call had another key.
    other_key: bool,
}

/// The orders of a system, counted by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Audit {
    /// Orders answered with 202.
    pub(crate) accepted: u64,
    /// Accepted orders that were delivered to both APIs, under one key each.
    pub(crate) delivered: u64,
    /// Accepted orders about which an API was not called.
    pub(crate) lost: u64,
    /// Accepted orders with a call without a key, calls under two keys, or the same key for both APIs.
    pub(crate) wrong_key: u64,
    /// Orders about which an API was called and which were never answered with 202.
    pub(crate) unknown: u64,
    /// Calls beyond the first about an order under the same key. Legal, and rare.
    pub(crate) repeated_calls: u64,
}

impl Order {
    fn is_delivered(&self) -> bool {
        self.calls.iter().all(Option::is_some)
    }
}

impl Book {
    /// The response to an order was read. Returns whether it is delivered already; if not, the waiter will be notified.
    pub(super) fn accepted(&self, order_id: Uuid, intended: Instant, waiter: Option<&Arc<Notify>>) -> bool {
        let at = Instant::now();
        let mut orders = self.orders();
        orders.accepted += 1;
        let order = orders.by_id.entry(order_id).or_default();
        order.accepted = Some(Accepted { intended, at });
        if order.is_delivered() {
            return true;
        }
        order.waiter = waiter.cloned();
        false
    }

    /// An API was called.
    pub(super) fn called(&self, order_id: Uuid, destination: usize, key: Option<&[u8]>) {
        let now = Instant::now();
        let key = key.map(hash);
        let mut orders = self.orders();
        let order = orders.by_id.entry(order_id).or_default();
        let Some(calls) = order.calls.get_mut(destination) else { return };
        if let Some(calls) = calls {
            calls.count += 1;
            calls.other_key |= calls.key != key;
            return;
        }
        *calls = Some(Calls { first: now, count: 1, key, other_key: false });
        if order.is_delivered() {
            let waiter = order.waiter.take();
            orders.delivered.push(now);
            let reached = orders.delivered.len() == orders.awaited;
            drop(orders);
            if let Some(waiter) = waiter {
                waiter.notify_one();
            }
            if reached {
                self.reached.notify_one();
            }
        }
    }

    /// How many orders were answered with 202.
    pub(super) fn accepted_so_far(&self) -> usize {
        self.orders().accepted
    }

    /// How many orders were delivered to both APIs.
    pub(super) fn delivered_so_far(&self) -> usize {
        self.orders().delivered.len()
    }

    /// Waits until this many orders are delivered. One caller at a time.
    pub(super) async fn wait_for_delivered(&self, count: usize) {
        loop {
            {
                let mut orders = self.orders();
                orders.awaited = count;
                if orders.delivered.len() >= count {
                    return;
                }
            }
            self.reached.notified().await;
        }
    }

    /// When each order was delivered to both APIs, in that sequence.
    pub(super) fn delivery_times(&self) -> Vec<Instant> {
        self.orders().delivered.clone()
    }

    /// The latencies of the orders that were to be sent since `since`.
    pub(super) fn latencies(&self, since: Instant) -> Latencies {
        let (mut post, mut accepted_to_delivered, mut sent_to_delivered) = (Vec::new(), Vec::new(), Vec::new());
        for order in self.orders().by_id.values() {
            let Some(accepted) = order.accepted.filter(|accepted| accepted.intended >= since) else { continue };
            post.push(accepted.at - accepted.intended);
            if let [Some(inventory), Some(fulfillment)] = order.calls {
                let delivered = inventory.first.max(fulfillment.first);
                accepted_to_delivered.push(delivered.saturating_duration_since(accepted.at));
                sent_to_delivered.push(delivered.saturating_duration_since(accepted.intended));
            }
        }
        Latencies {
            post: Quantiles::of(post),
            accepted_to_delivered: Quantiles::of(accepted_to_delivered),
            sent_to_delivered: Quantiles::of(sent_to_delivered),
        }
    }

    /// Checks every order.
    pub(super) fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        for order in self.orders().by_id.values() {
            let calls = order.calls.iter().flatten();
            audit.repeated_calls += calls.map(|calls| u64::from(calls.count - 1)).sum::<u64>();
            if order.accepted.is_none() {
                audit.unknown += 1;
                continue;
            }
            audit.accepted += 1;
            let [Some(inventory), Some(fulfillment)] = order.calls else {
                audit.lost += 1;
                continue;
            };
            let one_key_each = [inventory, fulfillment].iter().all(|calls| calls.key.is_some() && !calls.other_key);
            if one_key_each && inventory.key != fulfillment.key {
                audit.delivered += 1;
            } else {
                audit.wrong_key += 1;
            }
        }
        audit
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// Whether each order was delivered to both APIs, under one key each, and nothing else was.
    pub(crate) fn is_clean(&self) -> bool {
        self.delivered == self.accepted && self.lost + self.wrong_key + self.unknown == 0
    }
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVENTORY: usize = 0;
    const FULFILLMENT: usize = 1;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn an_order_is_delivered_when_both_apis_were_called_under_a_key_each() {
        let book = Book::default();
        let start = Instant::now();
        assert!(!book.accepted(id(1), start, None));
        book.called(id(1), INVENTORY, Some(b"a"));
        assert_eq!(book.delivered_so_far(), 0);
        book.called(id(1), FULFILLMENT, Some(b"b"));
        book.called(id(1), FULFILLMENT, Some(b"b"));
        assert_eq!(book.delivered_so_far(), 1);
        let audit = book.audit();
        assert_eq!((audit.delivered, audit.repeated_calls), (1, 1));
        assert!(audit.is_clean());
        assert!(book.latencies(start).sent_to_delivered.is_some());
    }

    #[test]
    fn every_kind_of_fault_is_counted() {
        let book = Book::default();
        let start = Instant::now();
        for order in 1..=4 {
            book.accepted(id(order), start, None);
        }
        // Lost, called under two keys, the same key for both, called without a key, never accepted.
        book.called(id(1), INVENTORY, Some(b"a"));
        book.called(id(2), INVENTORY, Some(b"a"));
        book.called(id(2), INVENTORY, Some(b"b"));
        book.called(id(2), FULFILLMENT, Some(b"c"));
        book.called(id(3), INVENTORY, Some(b"a"));
        book.called(id(3), FULFILLMENT, Some(b"a"));
        book.called(id(4), INVENTORY, None);
        book.called(id(4), FULFILLMENT, Some(b"a"));
        book.called(id(5), INVENTORY, Some(b"a"));
        let audit = book.audit();
        let counted = (audit.accepted, audit.delivered, audit.lost, audit.wrong_key, audit.unknown);
        assert_eq!(counted, (4, 0, 1, 3, 1));
        assert!(!audit.is_clean());
    }

    #[test]
    fn a_call_before_the_response_was_read_counts() {
        let book = Book::default();
        book.called(id(1), INVENTORY, Some(b"a"));
        book.called(id(1), FULFILLMENT, Some(b"b"));
        assert!(book.accepted(id(1), Instant::now(), None));
        assert!(book.audit().is_clean());
    }
}
