//! Waiting for an order. A client that would rather wait than ask again keeps its request open, and costs
//! one look at the store for each change of its order, and no more.

use std::{pin::Pin, sync::Arc, time::Duration};

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

use store::{Change, Changed, Desk, StoreFault};

use crate::{
    views,
    watch::{Watch, Watcher},
};

/// How many waiting clients look at the store at a time. The store allows more, so that those who do not
/// wait are served even while thousands of orders end at once.
const LOOKS: usize = 64;

/// The clients that wait, and the bounds on them.
#[derive(Clone, Debug)]
pub(in crate::http) struct Waiting {
    longest: Duration,
    permits: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    desk_looks: Arc<Semaphore>,
    shutdown: CancellationToken,
    waiting: Gauge,
    looked: Counter,
}

/// Permits one client to wait. Dropping it lets another one wait.
#[derive(Debug)]
pub(super) struct Permit {
    /// The longest wait: what the client asked for, capped.
    pub(super) wait: Duration,
    waiting: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Waiting {
    /// At most `permits` clients wait, each for at most `longest`; none after `shutdown`.
    pub(in crate::http) fn new(
        longest: Duration,
        permits: usize,
        shutdown: CancellationToken,
        metrics: &Metrics,
    ) -> Self {
        let (waiting, looked) = (Gauge::default(), Counter::default());
        metrics.register(|registry| {
            registry.register("http_waiting", "Requests that wait for the result of an order", waiting.clone());
            registry.register(
                "http_looks",
                "Reads of an order for clients that wait for it or follow it",
                looked.clone(),
            );
        });
        let permits = Arc::new(Semaphore::new(permits));
        let [looks, desk_looks] = [LOOKS, LOOKS].map(|count| Arc::new(Semaphore::new(count)));
        Self { longest, permits, looks, desk_looks, shutdown, waiting, looked }
    }

    /// A permit for a client that would wait for `wait`; `None` if as many wait as may.
    pub(super) fn permit(&self, wait: Duration) -> Option<Permit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        self.waiting.inc();
        Some(Permit { wait: wait.min(self.longest), waiting: self.waiting.clone(), _permit: permit })
    }

    /// Looks at an order once, when there is room for it.
    pub(super) async fn look(&self, desk: &Desk, order_id: OrderId) -> Result<Option<Order>, StoreFault> {
        // The semaphore is never closed.
        let _look = self.looks.acquire().await.map_err(|_| StoreFault::Busy)?;
        let order = desk.order(order_id).await;
        self.looked.inc();
        Ok(order?.map(views::order::order))
    }

    /// Looks once at what has changed in the ledger, when there is room for it.
    pub(super) async fn changes(&self, desk: &Desk, after: Change, limit: u32) -> Result<Vec<Changed>, StoreFault> {
        let _look = self.desk_looks.acquire().await.map_err(|_| StoreFault::Busy)?;
        desk.changes(after, limit).await
    }

    /// Waits until no delivery of the order is pending, the time is over or the process ends. Returns the
    /// order as the last look found it; `None` if there is no such order.
    ///
    /// Cancelling it ends the wait, and leaves nothing behind.
    pub(super) async fn wait_settled(
        &self,
        desk: &Desk,
        subscription: &mut Subscription,
        wait: Duration,
    ) -> Result<Option<Order>, StoreFault> {
        let deadline = Instant::now() + wait;
        loop {
            let over = !subscription.is_due() && !subscription.changed_before(deadline, &self.shutdown).await;
            subscription.renew();
            let order = self.look(desk, subscription.order_id).await?;
            let pending = order.as_ref().is_some_and(|order| !order.is_settled());
            if over || !pending || self.shutdown.is_cancelled() || Instant::now() >= deadline {
                return Ok(order);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

/// A subscription to the changes of one order: none after it was made is missed.
#[derive(Debug)]
pub(super) struct Subscription {
    order_id: OrderId,
    watcher: Watcher,
    changed: Pin<Box<OwnedNotified>>,
    due: bool,
}

impl Subscription {
    /// To an order about which nothing can have been recorded yet, so that there is nothing to look at
    /// before its first change.
    pub(super) fn to_new(watch: &Watch, order_id: OrderId) -> Self {
        let watcher = watch.order(order_id);
        let changed = Box::pin(watcher.changed());
        Self { order_id, watcher, changed, due: false }
    }

    /// To an order that must be looked at first.
    pub(super) fn to_known(watch: &Watch, order_id: OrderId) -> Self {
        Self { due: true, ..Self::to_new(watch, order_id) }
    }

    /// Whether the order must be looked at now.
    fn is_due(&self) -> bool {
        self.due
    }

    /// To be called right before a look: what is recorded from then on is a change.
    pub(super) fn renew(&mut self) {
        self.due = false;
        self.changed = Box::pin(self.watcher.changed());
    }

    /// Waits for a change; false if the time is over or the process ends. Cancellation safe.
    pub(super) async fn changed_before(&mut self, deadline: Instant, shutdown: &CancellationToken) -> bool {
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
