//! What the writer needs of a database.

use std::time::Duration;

use common::{
    order::OrderId,
    outcome::{Outcome, Progress},
};

use crate::{Adopted, LaneMark, Placed, Position, Receipt, StoreFault, rules::Line};

/// What goes into one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// Orders to accept.
    pub orders: Vec<Placed>,
    /// Every destination has every event up to this position.
    pub published_up_to: Option<Position>,
    /// The destinations that are further, while one is behind.
    pub lanes: Vec<LaneMark>,
    /// Outcomes for the ledger.
    pub outcomes: Vec<Outcome>,
    /// What is known of deliveries that wait.
    pub progress: Vec<Progress>,
}

impl Batch {
    /// The orders that something is recorded of; one may come several times.
    pub(crate) fn changed(&self) -> impl Iterator<Item = OrderId> {
        let outcomes = self.outcomes.iter().map(|outcome| outcome.order_id);
        outcomes.chain(self.progress.iter().map(|progress| progress.order_id))
    }

    /// Whether nothing is recorded of any delivery.
    pub(crate) fn records_nothing(&self) -> bool {
        self.outcomes.is_empty() && self.progress.is_empty()
    }

    /// Everything that is recorded of deliveries. What a worker reports of one together, ends it last.
    pub(crate) fn lines(&self) -> Vec<Line<'_>> {
        self.progress.iter().map(Line::Waits).chain(self.outcomes.iter().map(Line::Ended)).collect()
    }
}

/// What became of an order in a transaction that was committed.
#[derive(Debug)]
pub enum Acceptance {
    /// It is new, and waits in the outbox at this position.
    New(Position),
    /// Its key was seen before with the same request: this was the answer.
    Replayed(Receipt),
    /// Its key was seen before with another request.
    KeyReused,
}

/// The writer's connection to a database.
pub trait Backend: Send + 'static {
    /// How often the writer has to call [`Backend::tick`].
    const TICK: Option<Duration> = None;

    /// Commits all of the batch, durably, or nothing of it. Returns what became of the orders, in the order
    /// of [`Batch::orders`].
    fn commit(&mut self, batch: &Batch) -> impl Future<Output = Result<Vec<Acceptance>, StoreFault>> + Send;

    /// Writes something that changes nothing, to find out whether writing works again after a fault.
    fn probe(&mut self) -> impl Future<Output = Result<(), StoreFault>> + Send;

    /// Shows that this producer is alive, and takes over what others that have ended left in the outbox.
    fn tick(&mut self) -> impl Future<Output = Result<Adopted, StoreFault>> + Send {
        std::future::ready(Ok(Adopted::default()))
    }

    /// Gives up what shows that this producer is alive. What it left is for others, or for its next start.
    fn release(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}
