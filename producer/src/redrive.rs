//! Redrive: sends dead letters again, each to the one queue that it died in, under the key it had.
//!
//! A redrive is rows of the store; this only carries it out. Before a dead letter is published it is marked
//! as being sent, after the confirm as sent: whatever a lost session or a killed process leaves between
//! the two is published again under the same key and the same name, which is legal, and never skipped.
//! One task runs all redrives in turn; of several producers one runs them at a time.

mod bucket;
mod metrics;
mod session;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    broker::{Broker, BrokerFault, publisher::Publisher, redriven::RedrivenMessage, supervisor::Session},
    health::Component,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::bucket::Bucket;
pub(crate) use self::metrics::RedriveMetrics;
use store::{Desk, RedriveItem, StoreFault};

use crate::{app::Context, watch::Watch};

/// The pause of an idle runner before it looks for redrives that another producer made or has left.
const IDLE: Duration = Duration::from_secs(2);
/// The lease that lets one process at a time run redrives.
const LEASE_NAME: &str = "redrives";
/// How long that process is taken to be alive after its last look.
const LEASE: Duration = Duration::from_secs(10);
/// The pause after the store has failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Wakes the runner when there is something to do. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wake(Arc<Notify>);

impl Wake {
    /// A redrive was made, resumed, paused or cancelled, or something is to be published again.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

/// Runs redrives, over as many sessions with the broker as it takes.
pub(crate) struct Runner {
    broker: Broker,
    grace: Duration,
    desk: Desk,
    watch: Watch,
    wake: Wake,
    metrics: RedriveMetrics,
    /// Names this process where several want to run redrives.
    id: Uuid,
    buckets: HashMap<Uuid, Bucket>,
    /// Which redrive is served first at the next look.
    turn: usize,
    /// Why the store cannot be asked at present.
    fault: Option<StoreFault>,
}

impl Runner {
    /// A runner that sends to the queues of the broker's destinations.
    #[must_use]
    pub(crate) fn new(context: &Context, wake: Wake, metrics: RedriveMetrics) -> Self {
        Self {
            broker: context.broker.clone(),
            grace: context.grace,
            desk: context.desk.clone(),
            watch: context.watch.clone(),
            wake,
            metrics,
            id: Uuid::now_v7(),
            buckets: HashMap::new(),
            turn: 0,
            fault: None,
        }
    }

    /// Whether this process has something to do: a redrive that runs, or something that was left unconfirmed.
    async fn has_work(&mut self) -> Result<bool, StoreFault> {
        let running = self.desk.running_redrives().await?;
        self.metrics.running.set(i64::try_from(running.len()).unwrap_or(i64::MAX));
        if running.is_empty() && self.desk.unconfirmed_redrives(None, 1).await?.is_empty() {
            return Ok(false);
        }
        self.lease().await
    }

    /// Waits until there is something to do. False at shutdown.
    async fn idle(&mut self, component: &Component, shutdown: &CancellationToken) -> bool {
        loop {
            let pause = match self.has_work().await {
                Ok(true) => return true,
                Ok(false) => {
                    self.fault = None;
                    component.up();
                    IDLE
                }
                Err(fault) => {
                    self.store_failed(fault, component);
                    STORE_PAUSE
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return false,
                () = self.wake.0.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes or renews that lease.
    pub(super) async fn lease(&self) -> Result<bool, StoreFault> {
        self.desk.lease(LEASE_NAME, self.id, LEASE).await
    }

    fn store_failed(&mut self, fault: StoreFault, component: &Component) {
        if self.fault.as_ref() != Some(&fault) {
            tracing::error!(%fault, "redrives cannot be read or marked, trying again");
        }
        component.down(format!("the store fails: {fault}"));
        self.fault = Some(fault);
    }

    /// Notifies those who wait for the orders that their deliveries are pending again.
    fn reopened(&self, taken: &[RedriveItem]) {
        let orders: Vec<_> = taken.iter().filter_map(|item| item.order_id).collect();
        self.watch.changed(&orders);
    }

    async fn work(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        // Without work there is no connection either.
        while !shutdown.is_cancelled() && self.idle(component, shutdown).await {
            let publisher = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                opened = Publisher::open_to_redrive(&self.broker) => opened?,
            };
            self.session(publisher, component, shutdown).await?;
        }
        Ok(())
    }
}

impl Session for Runner {
    async fn run(&mut self, component: &Component, shutdown: &CancellationToken) -> Result<(), BrokerFault> {
        let ended = self.work(component, shutdown).await;
        // Also where the broker is not reached from here: another producer may reach it.
        if let Err(fault) = self.desk.release(LEASE_NAME, self.id).await {
            tracing::debug!(%fault, "another producer waits until the lease is over");
        }
        ended
    }
}

/// What is published of a dead letter.
fn message(item: &RedriveItem) -> RedrivenMessage {
    RedrivenMessage {
        dead_letter: item.dead_letter,
        headers: item.headers.clone(),
        properties: item.properties.clone(),
        body: Bytes::clone(&item.body),
    }
}

/// Moves `at` to `other` if that is earlier.
fn bring_forward(at: &mut Instant, other: Instant) {
    *at = (*at).min(other);
}
