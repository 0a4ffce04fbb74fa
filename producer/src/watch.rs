//! Watch: those who wait for an order are woken when something is recorded of it, and cost nothing until then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use common::order::OrderId;
use tokio::sync::{Notify, watch};

/// Wakes those who wait for changes, by order. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    orders: Arc<Mutex<HashMap<OrderId, Watched>>>,
    /// How many times something was recorded of any order.
    any: Arc<watch::Sender<u64>>,
}

#[derive(Debug)]
struct Watched {
    watchers: usize,
    changed: Arc<Notify>,
}

/// Waits for changes of one order. Dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct Watcher {
    watch: Watch,
    order_id: OrderId,
    changed: Arc<Notify>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { orders: Arc::default(), any: Arc::new(watch::Sender::new(0)) }
    }
}

impl Watch {
    /// Begins to wait for an order. Read the order after this: what is recorded from now on wakes the watcher,
    /// and nothing is missed in between.
    pub(crate) fn order(&self, order_id: OrderId) -> Watcher {
        let mut orders = self.lock();
        let watched =
            orders.entry(order_id).or_insert_with(|| Watched { watchers: 0, changed: Arc::new(Notify::new()) });
        watched.watchers += 1;
        Watcher { watch: self.clone(), order_id, changed: Arc::clone(&watched.changed) }
    }

    /// Waits for any order: the number rises with whatever is recorded.
    pub(crate) fn any(&self) -> watch::Receiver<u64> {
        self.any.subscribe()
    }

    /// Something was recorded of these orders.
    pub(crate) fn changed(&self, order_ids: &[OrderId]) {
        if order_ids.is_empty() {
            return;
        }
        let orders = self.lock();
        if !orders.is_empty() {
            for watched in order_ids.iter().filter_map(|order_id| orders.get(order_id)) {
                watched.changed.notify_waiters();
            }
        }
        drop(orders);
        self.any.send_modify(|changes| *changes += 1);
    }

    /// Something may have been recorded of any order.
    pub(crate) fn missed(&self) {
        for watched in self.lock().values() {
            watched.changed.notify_waiters();
        }
        self.any.send_modify(|changes| *changes += 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OrderId, Watched>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// The next change. To miss none, call this, then read the order, then await it.
    pub(crate) fn changed(&self) -> tokio::sync::futures::OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut orders = self.watch.lock();
        if let Some(watched) = orders.get_mut(&self.order_id) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                orders.remove(&self.order_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_watcher_is_woken_by_its_order_and_by_no_other() {
        let (watch, mine, other) = (Watch::default(), OrderId::new(), OrderId::new());
        let watcher = watch.order(mine);
        let changed = watcher.changed();
        watch.changed(&[other]);
        let mut changed = std::pin::pin!(changed);
        assert!(changed.as_mut().now_or_never().is_none());
        watch.changed(&[other, mine]);
        assert!(changed.as_mut().now_or_never().is_some());
    }

    #[test]
    fn a_change_before_the_await_is_not_missed() {
        let (watch, order_id) = (Watch::default(), OrderId::new());
        let watcher = watch.order(order_id);
        let changed = watcher.changed();
        watch.changed(&[order_id]);
        assert!(changed.now_or_never().is_some());
    }

    #[test]
    fn a_watcher_that_has_left_leaves_nothing_behind() {
        let (watch, order_id) = (Watch::default(), OrderId::new());
        let (one, two) = (watch.order(order_id), watch.order(order_id));
        drop(one);
        let changed = two.changed();
        watch.missed();
        assert!(changed.now_or_never().is_some());
        drop(two);
        assert!(watch.lock().is_empty());
    }
}
