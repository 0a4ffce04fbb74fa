//! Intake: an order is accepted when it is on disk, and answered only then.

use std::sync::Arc;

use common::{
    event::OrderCreated,
    health::Component,
    order::{CorrelationId, OrderId},
    telemetry::metrics::Metrics,
    trace_context::TraceParent,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use tokio::sync::mpsc;

use crate::{
    outbox::Outbox,
    store::{Committed, Writes},
    watch::Watch,
};

/// A well-formed order that wants to be accepted.
#[derive(Debug)]
pub struct Placed {
    /// The event that will be published, which holds the whole order.
    pub event: OrderCreated,
    /// The caller, for the trace.
    pub trace: TraceParent,
    /// What makes a repetition of the request recognisable, where the client sent a key.
    pub idempotency: Option<Idempotency>,
}

/// The client's `Idempotency-Key` and what it was first used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// 1 to 255 visible ASCII characters, without quotes.
    pub key: String,
    /// SHA-256 over the request: the same key with another one is a mistake of the client.
    pub fingerprint: [u8; 32],
}

/// An order that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub order_id: OrderId,
    /// The request that placed it first.
    pub correlation_id: CorrelationId,
    /// Whether this is the answer to an earlier request with the same key.
    pub replayed: bool,
}

/// Why an order is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// Too many requests wait for the disk, or too many orders for the broker. Nothing was stored.
    #[error("too many orders are waiting")]
    Busy,
    /// The store failed, or did not answer in time.
    #[error("the store failed: {0}")]
    Store(String),
    /// The key was used for another request. Nothing was stored.
    #[error("the idempotency key was used for another request")]
    KeyReused,
}

/// The way in.
#[derive(Clone, Debug)]
pub struct Intake {
    writes: Writes,
    outbox: Arc<Outbox>,
    metrics: IntakeMetrics,
}

impl Intake {
    /// Intake over a store and its outbox.
    #[must_use]
    pub fn new(writes: Writes, outbox: Arc<Outbox>, metrics: &Metrics) -> Self {
        Self { writes, outbox, metrics: IntakeMetrics::register(metrics) }
    }

    /// Accepts an order: one transaction with its outbox row and idempotency key, shared with
    /// whatever else waits for the disk. Answers after the commit.
    ///
    /// # Errors
    /// [`NotAccepted`]: nothing was stored.
    pub async fn accept(&self, placed: Placed) -> Result<Receipt, NotAccepted> {
        let answer = if self.outbox.has_room() { self.writes.accept(placed).await } else { Err(NotAccepted::Busy) };
        match &answer {
            Ok(receipt) if receipt.replayed => self.metrics.replayed.inc(),
            Ok(_) => self.metrics.accepted.inc(),
            Err(NotAccepted::Busy) => self.metrics.busy.inc(),
            Err(NotAccepted::Store(_)) => self.metrics.store_fault.inc(),
            Err(NotAccepted::KeyReused) => self.metrics.key_reused.inc(),
        };
        answer
    }
}

#[derive(Clone, Debug)]
struct IntakeMetrics {
    accepted: Counter,
    replayed: Counter,
    busy: Counter,
    store_fault: Counter,
    key_reused: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

impl IntakeMetrics {
    fn register(metrics: &Metrics) -> Self {
        let orders = Family::<ByResult, Counter>::default();
        metrics.register(|registry| {
            registry.register("orders", "Well-formed orders, by what came of them at intake", orders.clone());
        });
        let result = |result| orders.get_or_create_owned(&ByResult { result });
        Self {
            accepted: result("accepted"),
            replayed: result("replayed"),
            busy: result("busy"),
            store_fault: result("store_fault"),
            key_reused: result("key_reused"),
        }
    }
}

/// Passes on what transactions bring: events to the relay, answers to those who asked, news to those
/// who watch an order. Ends with the writer.
pub async fn distribute(
    mut committed: mpsc::UnboundedReceiver<Committed>,
    outbox: Arc<Outbox>,
    watch: Watch,
    store: Component,
) {
    store.up();
    while let Some(mut group) = committed.recv().await {
        match &group.result {
            None => store.sign_of_life(),
            Some(Ok(())) => store.up(),
            Some(Err(fault)) => store.down(fault.to_string()),
        }
        outbox.hand_over(std::mem::take(&mut group.entries));
        watch.changed(&group.changed);
        group.answer();
    }
}
