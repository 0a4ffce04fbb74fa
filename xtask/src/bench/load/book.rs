//! What became of every order: who accepted it when, who was told of it when, under which key.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// How many APIs are told of each order.
pub(super) const DESTINATIONS: usize = 2;

/// An order's id, as a number: it is looked up three times for each order.
pub(super) type OrderId = u128;

/// The book of one run. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Book(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<Entries>,
    /// Rung when [`Entries::awaited`] orders are complete.
    complete: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    orders: HashMap<OrderId, Entry>,
    /// When each order that is complete became so, in that order.
    completed: Vec<Instant>,
    accepted: usize,
    awaited: Option<usize>,
}

#[derive(Debug, Default)]
struct Entry {
    placed: Option<Placed>,
    told: [Option<Told>; DESTINATIONS],
    waiter: Option<Arc<Notify>>,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    intended: Instant,
    accepted: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    first: Instant,
    calls: u32,
    /// The key's hash; none for a call without a key.
    key: Option<u64>,
    other_key: bool,
}

/// The three latencies of the orders of a run, each in order of size.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// From the intended time of sending to the answer.
    pub(super) post: Vec<Duration>,
    /// From the answer to the moment both APIs have the request; zero where they had it before the answer was read.
    pub(super) told: Vec<Duration>,
    /// From the intended time of sending to the moment both APIs have the request.
    pub(super) whole: Vec<Duration>,
}

/// What is wrong with the orders of a run, and how many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Orders answered with 202.
    pub(crate) accepted: u64,
    /// Of them, told to both APIs, each under one key.
    pub(crate) complete: u64,
    /// Of them, not told to an API.
    pub(crate) lost: u64,
    /// Of them, told to an API without a key, under two, or to both under the same.
    pub(crate) wrong_key: u64,
    /// Told to an API and never answered with 202.
    pub(crate) unasked: u64,
    /// Calls beyond the first for an order and API. Legal, and rare.
    pub(crate) repeated_calls: u64,
}

impl Verdict {
    /// Whether each order was told to both APIs, each under one key, and nothing else was told.
    pub(crate) fn is_clean(&self) -> bool {
        self.complete == self.accepted && self.lost + self.wrong_key + self.unasked == 0
    }
}

impl Book {
    /// The answer to an order was read. The waiter, if any, is rung when both APIs are told; true if they are already.
    pub(super) fn accepted(&self, order: OrderId, intended: Instant, waiter: Option<&Arc<Notify>>) -> bool {
        let accepted = Instant::now();
        let mut entries = self.entries();
        entries.accepted += 1;
        let entry = entries.orders.entry(order).or_default();
        entry.placed = Some(Placed { intended, accepted });
        if entry.told.iter().all(Option::is_some) {
            return true;
        }
        entry.waiter = waiter.cloned();
        false
    }

    /// An API has been told of an order.
    pub(super) fn told(&self, order: OrderId, destination: usize, key: Option<&[u8]>) {
        let now = Instant::now();
        let key = key.map(hash);
        let mut entries = self.entries();
        let entry = entries.orders.entry(order).or_default();
        let Some(told) = entry.told.get_mut(destination) else { return };
        if let Some(told) = told {
            told.calls += 1;
            told.other_key |= told.key != key;
            return;
        }
        *told = Some(Told { first: now, calls: 1, key, other_key: false });
        if entry.told.iter().all(Option::is_some) {
            let waiter = entry.waiter.take();
            entries.completed.push(now);
            let awaited = entries.awaited == Some(entries.completed.len());
            drop(entries);
            if let Some(waiter) = waiter {
                waiter.notify_one();
            }
            if awaited {
                self.0.complete.notify_one();
            }
        }
    }

    /// How many orders are complete.
    pub(super) fn completed(&self) -> usize {
        self.entries().completed.len()
    }

    /// How many orders were answered with 202.
    pub(super) fn accepted_so_far(&self) -> usize {
        self.entries().accepted
    }

    /// Waits until so many orders are complete. One caller at a time.
    pub(super) async fn wait_for_completed(&self, orders: usize) {
        loop {
            {
                let mut entries = self.entries();
                if entries.completed.len() >= orders {
                    entries.awaited = None;
                    return;
                }
                entries.awaited = Some(orders);
            }
            self.0.complete.notified().await;
        }
    }

    /// When each complete order became so, after the first `skip`.
    pub(super) fn completions(&self, skip: usize) -> Vec<Instant> {
        self.entries().completed.get(skip..).unwrap_or_default().to_vec()
    }

    /// The latencies of the orders that were to be sent since `since` and are complete.
    pub(super) fn latencies(&self, since: Instant) -> Latencies {
        let entries = self.entries();
        let mut latencies = Latencies::default();
        for entry in entries.orders.values() {
            let Some(placed) = entry.placed.filter(|placed| placed.intended >= since) else { continue };
            latencies.post.push(placed.accepted - placed.intended);
            if let [Some(one), Some(other)] = entry.told {
                let told = one.first.max(other.first);
                latencies.told.push(told.saturating_duration_since(placed.accepted));
                latencies.whole.push(told.saturating_duration_since(placed.intended));
            }
        }
        for kind in [&mut latencies.post, &mut latencies.told, &mut latencies.whole] {
            kind.sort_unstable();
        }
        latencies
    }

    /// Looks at every order.
    pub(super) fn verdict(&self) -> Verdict {
        let entries = self.entries();
        let mut verdict = Verdict::default();
        for entry in entries.orders.values() {
            let told = entry.told.iter().flatten();
            verdict.repeated_calls += told.map(|told| u64::from(told.calls - 1)).sum::<u64>();
            if entry.placed.is_none() {
                verdict.unasked += 1;
                continue;
            }
            verdict.accepted += 1;
            let [Some(one), Some(other)] = entry.told else {
                verdict.lost += 1;
                continue;
            };
            let one_key_each = [one, other].iter().all(|told| told.key.is_some() && !told.other_key);
            if one_key_each && one.key != other.key {
                verdict.complete += 1;
            } else {
                verdict.wrong_key += 1;
            }
        }
        verdict
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn an_order_is_complete_when_both_apis_were_told_under_a_key_each() {
        let book = Book::default();
        let start = Instant::now();
        assert!(!book.accepted(1, start, None));
        book.told(1, 0, Some(b"a"));
        assert_eq!(book.completed(), 0);
        book.told(1, 1, Some(b"b"));
        book.told(1, 1, Some(b"b"));
        assert_eq!(book.completed(), 1);
        let verdict = book.verdict();
        assert_eq!((verdict.complete, verdict.repeated_calls), (1, 1));
        assert!(verdict.is_clean());
        assert_eq!(book.latencies(start).whole.len(), 1);
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        let book = Book::default();
        let start = Instant::now();
        for order in 1..=4 {
            book.accepted(order, start, None);
        }
        // Told once, told under two keys, told both under the same key, told without a key, never accepted.
        book.told(1, 0, Some(b"a"));
        book.told(2, 0, Some(b"a"));
        book.told(2, 0, Some(b"b"));
        book.told(2, 1, Some(b"c"));
        book.told(3, 0, Some(b"a"));
        book.told(3, 1, Some(b"a"));
        book.told(4, 0, None);
        book.told(4, 1, Some(b"a"));
        book.told(5, 0, Some(b"a"));
        let verdict = book.verdict();
        let counted = (verdict.accepted, verdict.complete, verdict.lost, verdict.wrong_key, verdict.unasked);
        assert_eq!(counted, (4, 0, 1, 3, 1));
        assert!(!verdict.is_clean());
    }

    #[test]
    fn what_was_told_before_the_answer_was_read_counts() {
        let book = Book::default();
        book.told(1, 0, Some(b"a"));
        book.told(1, 1, Some(b"b"));
        assert!(book.accepted(1, Instant::now(), None));
        assert!(book.verdict().is_clean());
    }
}
