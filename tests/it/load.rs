//! Clients that keep placing orders while a test breaks something.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use api::Accepted;
use serde_json::Value;
use tests::{
    http,
    order::Order,
    system::System,
    waiting::{PATIENCE, within},
};
use tokio::{sync::watch, task::JoinSet};

/// How many clients there are, each with one request at a time.
const CLIENTS: usize = 16;
/// The pause of a client after a request that failed.
const PAUSE: Duration = Duration::from_millis(5);

/// Running clients. They go on despite faults of the producer until [`Load::stop`].
pub(crate) struct Load {
    clients: JoinSet<()>,
    seen: Arc<Seen>,
    accepted: watch::Receiver<usize>,
}

struct Seen {
    stop: AtomicBool,
    order_ids: Mutex<Vec<String>>,
    accepted: watch::Sender<usize>,
}

impl Load {
    /// Starts the clients, which call the current producer.
    pub(crate) async fn start(system: &System, order: &Order) -> Result<Self> {
        let url = format!("{}/v1/orders", system.producer()?.url().await?);
        let (count, accepted) = watch::channel(0);
        let seen = Arc::new(Seen { stop: AtomicBool::new(false), order_ids: Mutex::default(), accepted: count });
        let mut clients = JoinSet::new();
        let client = http::client()?;
        for _ in 0..CLIENTS {
            clients.spawn(place(client.clone(), url.clone(), serde_json::to_value(order)?, Arc::clone(&seen)));
        }
        Ok(Self { clients, seen, accepted })
    }

    /// Waits until this many more orders are accepted.
    pub(crate) async fn more(&mut self, count: usize) -> Result<()> {
        let wanted = *self.accepted.borrow() + count;
        let seen = || format!("{} of {wanted}", self.seen.order_ids().len());
        let mut accepted = self.accepted.clone();
        within("orders to be accepted", PATIENCE, accepted.wait_for(|count| *count >= wanted), seen)
            .await?
            .context("the clients are gone")?;
        Ok(())
    }

    /// Stops the clients, and returns the ids of all accepted orders.
    pub(crate) async fn stop(mut self) -> Result<Vec<String>> {
        self.seen.stop.store(true, Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        let order_ids = std::mem::take(&mut *self.seen.order_ids());
        ensure!(!order_ids.is_empty(), "no order was accepted");
        Ok(order_ids)
    }
}

impl Seen {
    fn order_ids(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.order_ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn place(client: reqwest::Client, url: String, order: Value, seen: Arc<Seen>) {
    while !seen.stop.load(Relaxed) {
        let accepted = async {
            let response = client.post(&url).json(&order).send().await.ok()?;
            // A response that breaks off leaves the client in doubt, and does not count.
            let accepted = response.status() == 202;
            let placed: Accepted = response.json().await.ok()?;
            accepted.then_some(placed.order_id)
        };
        match accepted.await {
            Some(order_id) => {
                seen.order_ids().push(order_id);
                seen.accepted.send_modify(|count| *count += 1);
            }
            None => tokio::time::sleep(PAUSE).await,
        }
    }
}
