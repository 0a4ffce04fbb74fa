//! Intake: an order is born here, accepted once it is on disk, and answered only then.

mod new_order;

use std::sync::Arc;

use common::{health::Component, telemetry::metrics::Metrics};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use store::{Changes, Committed, NotAccepted, Placed, Receipt, Room, Space, WriterState, Writes};
use tokio::sync::mpsc;

pub(crate) use self::new_order::{Caller, NewOrder};
use crate::{outbox::Outbox, watch::Watch};

/// Most bytes of orders that wait for the disk, in addition to the bound on their number: a large order
/// holds a hundred times the memory of a usual one.
const WAITING_BYTES: usize = 16 * 1_024 * 1_024;

/// The way in.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    writes: Writes,
    outbox: Arc<Outbox>,
    space: Space,
    metrics: IntakeMetrics,
}

impl Intake {
    /// Intake over a store and its outbox.
    #[must_use]
    pub(crate) fn new(writes: Writes, outbox: Arc<Outbox>, metrics: &Metrics) -> Self {
        Self { writes, outbox, space: Space::new(WAITING_BYTES), metrics: IntakeMetrics::register(metrics) }
    }

    /// Accepts an order: one transaction with its outbox row and idempotency key, shared with
    /// whatever else waits for the disk. Answers after the commit.
    ///
    /// # Errors
    /// [`NotAccepted`]. After [`NotAccepted::Store`] the order may be stored: a repetition under the same key
    /// shows.
    pub(crate) async fn accept(&self, placed: Placed) -> Result<Receipt, NotAccepted> {
        let answer = self.hand_in(placed).await;
        self.metrics.count(&answer);
        answer
    }

    async fn hand_in(&self, placed: Placed) -> Result<Receipt, NotAccepted> {
        let room = self.room(&placed)?;
        self.writes.accept(placed, room).await
    }

    /// Accepts orders together, in one transaction; each has its own answer, in the same order.
    pub(crate) async fn accept_all(&self, placed: Vec<Placed>) -> Vec<Result<Receipt, NotAccepted>> {
        let mut taken = Vec::with_capacity(placed.len());
        let room: Vec<_> =
            placed.into_iter().map(|placed| self.room(&placed).map(|room| taken.push((placed, room)))).collect();
        let mut stored = if taken.is_empty() { Vec::new() } else { self.writes.accept_all(taken).await }.into_iter();
        let answers: Vec<_> =
            room.into_iter().map(|room| room.and_then(|()| stored.next().unwrap_or(Err(NotAccepted::Busy)))).collect();
        answers.iter().for_each(|answer| self.metrics.count(answer));
        answers
    }

    fn room(&self, placed: &Placed) -> Result<Room, NotAccepted> {
        self.outbox.has_room()?;
        self.space.take(placed.bytes()).ok_or(NotAccepted::Busy)
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
    fn count(&self, answer: &Result<Receipt, NotAccepted>) {
        match answer {
            Ok(receipt) if receipt.replayed => self.replayed.inc(),
            Ok(_) => self.accepted.inc(),
            Err(NotAccepted::Busy | NotAccepted::Behind(_)) => self.busy.inc(),
            Err(NotAccepted::Store(_)) => self.store_fault.inc(),
            Err(NotAccepted::KeyReused) => self.key_reused.inc(),
        };
    }

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
pub(crate) async fn distribute(
    mut committed: mpsc::UnboundedReceiver<Committed>,
    outbox: Arc<Outbox>,
    watch: Watch,
    store: Component,
) {
    store.up();
    while let Some(mut group) = committed.recv().await {
        match &group.writer {
            WriterState::Unchanged => {}
            WriterState::Alive => store.sign_of_life(),
            WriterState::Writing => store.up(),
            WriterState::Failing(fault) => store.down(fault.to_string()),
        }
        outbox.adopt(group.adopted.events, group.adopted.last);
        outbox.hand_over(std::mem::take(&mut group.entries));
        match &group.changed {
            Changes::Of(orders) => watch.changed(orders),
            Changes::Unknown => watch.missed(),
        }
        group.answer();
    }
}

#[cfg(test)]
mod tests {
    use common::{
        event::{EventId, OrderCreated, OrderCreatedType, now},
        order::{CorrelationId, CustomerId, Items, OrderId},
        trace_context::TraceParent,
    };
    use futures_util::FutureExt as _;

    use super::*;
    use store::{Acceptance, Backend, Backlog, Batch, StoreFault, WriterMetrics};

    /// A disk that does not answer.
    struct Stuck;

    impl Backend for Stuck {
        async fn commit(&mut self, _: &Batch) -> Result<Vec<Acceptance>, StoreFault> {
            std::future::pending().await
        }

        async fn probe(&mut self) -> Result<(), StoreFault> {
            std::future::pending().await
        }
    }

    fn placed(items: usize) -> Placed {
        let item = serde_json::json!({"product_id": "p".repeat(128), "qty": 1});
        let items: Items = serde_json::from_value(vec![item; items].into()).unwrap();
        let event = OrderCreated {
            event_type: OrderCreatedType,
            event_id: EventId::fresh(),
            order_id: OrderId::new(),
            customer_id: CustomerId::parse("c".into()).unwrap(),
            items,
            correlation_id: CorrelationId::fresh(),
            occurred_at: now(),
        };
        Placed::new(event, TraceParent::root(), None).unwrap()
    }

    #[tokio::test]
    async fn large_orders_that_wait_for_the_disk_are_bounded_in_bytes_whether_or_not_their_callers_wait() {
        let metrics = Metrics::default();
        let (committed, _groups) = mpsc::unbounded_channel();
        let (writes, _thread) = Writes::start(Stuck, 10_000, committed, WriterMetrics::register(&metrics)).unwrap();
        let intake = Intake::new(writes, Arc::new(Outbox::new(&Backlog::default(), &[], u64::MAX)), &metrics);
        let order = placed(1_000);
        assert!((150_000..200_000).contains(&order.bytes()), "{}", order.bytes());
        let fit = WAITING_BYTES / order.bytes();
        // Each caller hangs up at once, and leaves its order behind.
        for number in 0..fit {
            assert_eq!(intake.accept(placed(1_000)).now_or_never(), None, "order {number} of {fit}");
        }
        assert_eq!(intake.accept(placed(1_000)).now_or_never(), Some(Err(NotAccepted::Busy)));
    }
}
