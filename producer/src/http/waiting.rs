//! Waiting for an order: a client that would rather wait than ask again holds its request open, and
//! costs one look at the store for each news of its order, and no more.

use std::{sync::Arc, time::Duration};

use api::Order;
use common::{
    order::OrderId,
    telemetry::metrics::{Counter, Gauge, Metrics},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, futures::OwnedNotified},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::Show;
use store::{Change, Changed, Desk, StoreFault, Watch, Watcher};

/// How many of those who wait look at the store at a time: fewer than may ask of it, so that those who
/// do not wait find room when thousands of orders end at once.
const LOOKS: usize = 64;

/// Those who wait, and the bounds on them.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    longest: Duration,
    places: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    desk_looks: Arc<Semaphore>,
    shutdown: CancellationToken,
    waiting: Gauge,
    looked: Counter,
}

/// A place among those who wait. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    /// How long it is waited at most: what was asked for, capped.
    pub(super) wait: Duration,
    waiting: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Waiting {
    pub(super) fn new(longest: Duration, places: usize, shutdown: CancellationToken, metrics: &Metrics) -> Self {
        let (waiting, looked) = (Gauge::default(), Counter::default());
        metrics.register(|registry| {
            registry.register("http_waiting", "Requests that wait for the result of an order", waiting.clone());
            registry.register("http_looks", "Looks at an order for those who wait for it or follow it", looked.clone());
        });
        let places = Arc::new(Semaphore::new(places));
        let [looks, desk_looks] = [LOOKS, LOOKS].map(|count| Arc::new(Semaphore::new(count)));
        Self { longest, places, looks, desk_looks, shutdown, waiting, looked }
    }

    /// A place for a client that would wait so long; none where all are taken.
    pub(super) fn place(&self, wished: Duration) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.waiting.inc();
        Some(Place { wait: wished.min(self.longest), waiting: self.waiting.clone(), _permit: permit })
    }

    /// One look at an order, when it is its turn.
    pub(super) async fn look(&self, orders: &impl Show, order_id: OrderId) -> Result<Option<Order>, StoreFault> {
        // The semaphore is never closed.
        let _turn = self.looks.acquire().await.map_err(|_| StoreFault::Busy)?;
        self.looked.inc();
        orders.order(order_id).await
    }

    /// One look at what has changed in the ledger, when it is its turn.
    pub(super) async fn changes(&self, desk: &dyn Desk, after: Change, limit: u32) -> Result<Vec<Changed>, StoreFault> {
        let _turn = self.desk_looks.acquire().await.map_err(|_| StoreFault::Busy)?;
        desk.changes(after, limit).await
    }

    /// Waits until no delivery of the order is pending, the time is over or the process ends. What the
    /// last look has shown comes back; none where there is no such order.
    ///
    /// Cancelling it ends the wait, and leaves nothing behind.
    pub(super) async fn wait_settled(
        &self,
        orders: &impl Show,
        news: &mut News,
        wait: Duration,
    ) -> Result<Option<Order>, StoreFault> {
        let deadline = Instant::now() + wait;
        loop {
            let over = if news.is_due() { false } else { !news.wait_until(deadline, &self.shutdown).await };
            news.heard();
            let shown = self.look(orders, news.order_id).await?;
            let settled = shown.as_ref().is_none_or(Order::is_settled);
            if over || settled || self.shutdown.is_cancelled() || Instant::now() >= deadline {
                return Ok(shown);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

/// News of one order: every change after it was made is heard of.
#[derive(Debug)]
pub(super) struct News {
    order_id: OrderId,
    watcher: Watcher,
    changed: std::pin::Pin<Box<OwnedNotified>>,
    due: bool,
}

impl News {
    /// Of an order about which nothing can have been recorded yet: there is nothing to look at before
    /// the first news.
    pub(super) fn of_new(watch: &Watch, order_id: OrderId) -> Self {
        let watcher = watch.order(order_id);
        let changed = Box::pin(watcher.changed());
        Self { order_id, watcher, changed, due: false }
    }

    /// Of an order that has to be looked at first.
    pub(super) fn of_known(watch: &Watch, order_id: OrderId) -> Self {
        Self { due: true, ..Self::of_new(watch, order_id) }
    }

    /// Whether the order has to be looked at now.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Call it right before a look: what is recorded from then on is news.
    pub(super) fn heard(&mut self) {
        self.due = false;
        self.changed = Box::pin(self.watcher.changed());
    }

    /// Waits for news; false when the time is over or the process ends. Cancellation safe.
    pub(super) async fn wait_until(&mut self, deadline: Instant, shutdown: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = self.changed.as_mut() => {
                self.due = true;
                true
            }
            () = shutdown.cancelled() => false,
            () = sleep_until(deadline) => false,
        }
    }
}
