//! Reading, on a thread of its own, so that no reader waits for the disk's writer.

use std::{
    thread::{self, JoinHandle},
    time::Duration,
};

use common::order::OrderId;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{Backend, Backlog, Known, OutboxEntry, Position, StoreFault};

/// Most questions that may wait; beyond it the caller is told at once.
const QUEUE: usize = 256;

/// How long a question waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

type Reply<T> = oneshot::Sender<Result<T, StoreFault>>;

#[derive(Debug)]
enum Ask {
    Order(OrderId, Reply<Option<Known>>),
    Outbox(Position, u32, Reply<Vec<OutboxEntry>>),
    Backlog(Reply<Backlog>),
}

/// The way to the reader. Cloning shares it; the reader ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Reads(mpsc::Sender<Ask>);

impl Reads {
    /// Starts the reader's thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(backend: impl Backend) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (sender, asks) = mpsc::channel(QUEUE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(move || runtime.block_on(read(backend, asks)))?;
        Ok((Self(sender), thread))
    }

    /// An order with the outcomes known of it.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn order(&self, order_id: OrderId) -> Result<Option<Known>, StoreFault> {
        self.ask(|reply| Ask::Order(order_id, reply)).await
    }

    /// Events in the outbox beyond `after`, oldest first.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn outbox(&self, after: Position, limit: u32) -> Result<Vec<OutboxEntry>, StoreFault> {
        self.ask(|reply| Ask::Outbox(after, limit, reply)).await
    }

    /// How much waits in the outbox.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn backlog(&self) -> Result<Backlog, StoreFault> {
        self.ask(Ask::Backlog).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, StoreFault> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(ask(reply)).map_err(|_| StoreFault::Busy)?;
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreFault::Busy),
            Err(_) => Err(StoreFault::Database("the disk did not answer in time".to_owned())),
        }
    }
}

async fn read(mut backend: impl Backend, mut asks: mpsc::Receiver<Ask>) {
    while let Some(ask) = asks.recv().await {
        // Who has left meanwhile does not need the answer.
        match ask {
            Ask::Order(order_id, reply) => {
                let _ = reply.send(backend.order(order_id).await);
            }
            Ask::Outbox(after, limit, reply) => {
                let _ = reply.send(backend.outbox(after, limit).await);
            }
            Ask::Backlog(reply) => {
                let _ = reply.send(backend.backlog().await);
            }
        }
    }
}
