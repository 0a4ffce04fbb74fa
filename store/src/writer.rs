//! Group commit: one owner of all writing, on a thread of its own.
//!
//! Intake is committed at once: a lone order never waits for company, and while a commit runs the
//! next group gathers by itself. Marks and outcomes ride along with whatever is committed next, and
//! are committed by themselves only when nothing came for [`LINGER`].

mod room;
mod marks;
mod metrics;
mod backend;

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant as StdInstant},
};

use common::{order::OrderId, outcome::Outcome};
use tokio::{
    sync::{mpsc, mpsc::error::TrySendError, oneshot},
    time::{Instant, sleep_until, timeout_at},
};

use self::marks::Marks;
pub use self::{
    backend::{Acceptance, Backend, Batch},
    metrics::WriterMetrics,
    room::{Room, Space},
};
use crate::{Adopted, NotAccepted, OutboxEntry, Placed, Position, Receipt, StoreFault};

/// How long marks and outcomes wait for an intake to ride along with.
const LINGER: Duration = Duration::from_millis(20);
/// So many orders fill a transaction, which bounds how long the first of them waits for the last. Those
/// that were asked for together are never parted, and may exceed it.
const MAX_ORDERS: usize = 512;
/// Most outcomes in one transaction.
const MAX_OUTCOMES: usize = 4_096;
/// The pause after a failed transaction, before marks and outcomes are tried again.
const FAULT_PAUSE: Duration = Duration::from_millis(500);

/// How long a caller waits for a commit. A disk that takes longer is no disk to wait for.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How often an idle writer says that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What the writer is asked for. Room is given back when the order is committed, or refused.
enum Request {
    Accept(Box<Placed>, Room, oneshot::Sender<Answer>),
    /// Orders that go into one transaction.
    AcceptAll(Vec<(Placed, Room, oneshot::Sender<Answer>)>),
    CommitMarks,
    Record(Vec<Outcome>, oneshot::Sender<()>),
}

/// What became of an order.
type Answer = Result<Receipt, NotAccepted>;

/// What one transaction brought, in one message: waking another thread costs more than the rest of
/// an answer.
#[derive(Debug, Default)]
pub struct Committed {
    /// New events for the relay, in the order of their commit.
    pub entries: Vec<OutboxEntry>,
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    recorded: Vec<oneshot::Sender<()>>,
    /// What was taken over from producers that have ended.
    pub adopted: Adopted,
    /// Orders of which something was recorded.
    pub changed: Vec<OrderId>,
    /// What came of the transaction; nothing where there was none, and the writer is just alive.
    pub result: Option<Result<(), StoreFault>>,
}

impl Committed {
    fn idle(result: Option<Result<(), StoreFault>>) -> Self {
        Self { result, ..Self::default() }
    }

    /// Answers everyone who waits. Who has left meanwhile misses nothing: the order is stored.
    pub fn answer(self) {
        for (sender, answer) in self.answers {
            let _ = sender.send(answer);
        }
        for sender in self.recorded {
            let _ = sender.send(());
        }
    }
}

/// The way to the writer. Cloning shares it; the writer ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Writes {
    requests: mpsc::Sender<Request>,
    marks: Marks,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

impl Writes {
    /// Starts the writer's thread. `queue` bounds what may wait for the disk.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(
        backend: impl Backend,
        queue: usize,
        committed: mpsc::UnboundedSender<Committed>,
        metrics: WriterMetrics,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (sender, requests) = mpsc::channel(queue);
        let marks = Marks::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn({
            let marks = marks.clone();
            move || runtime.block_on(write(backend, requests, marks, committed, metrics))
        })?;
        Ok((Self { requests: sender, marks }, thread))
    }

    /// Asks for an order to be accepted; the answer comes after the commit.
    ///
    /// Cancellation safe in this sense: an order whose caller has left is stored and delivered all the
    /// same, or not stored at all.
    ///
    /// # Errors
    /// [`NotAccepted`].
    pub async fn accept(&self, placed: Placed, room: Room) -> Answer {
        let (sender, answer) = oneshot::channel();
        // The queue is the bound: beyond it the caller is told at once.
        self.requests.try_send(Request::Accept(Box::new(placed), room, sender)).map_err(not_taken)?;
        answered(answer, Instant::now() + ANSWER_WITHIN).await
    }

    /// Asks for orders to be accepted, all in one transaction; the answers are in the order of the
    /// orders. They take one place in the queue; it is the caller who bounds their number.
    ///
    /// Cancellation safe as [`Writes::accept`] is.
    pub async fn accept_all(&self, placed: Vec<(Placed, Room)>) -> Vec<Answer> {
        let (asked, answers): (Vec<_>, Vec<_>) = placed
            .into_iter()
            .map(|(placed, room)| {
                let (sender, answer) = oneshot::channel();
                ((placed, room, sender), answer)
            })
            .unzip();
        if let Err(refused) = self.requests.try_send(Request::AcceptAll(asked)).map_err(not_taken) {
            return answers.iter().map(|_| Err(refused.clone())).collect();
        }
        let deadline = Instant::now() + ANSWER_WITHIN;
        let mut all = Vec::with_capacity(answers.len());
        // One transaction answers them all.
        for answer in answers {
            all.push(answered(answer, deadline).await);
        }
        all
    }

    /// Marks every event up to this position as published, with the next transaction or after
    /// [`Writes::commit_marks`]. Losing a mark only publishes once more.
    pub fn published(&self, up_to: Position) {
        self.marks.published(up_to);
    }

    /// Has marks committed even if nothing else comes.
    ///
    /// # Errors
    /// [`StoreFault::Busy`]: marks ride along with what the store is busy with. [`StoreFault::Ended`].
    pub fn commit_marks(&self) -> Result<(), StoreFault> {
        if self.marks.due().is_none() {
            return Ok(());
        }
        self.requests.try_send(Request::CommitMarks).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreFault::Busy,
            TrySendError::Closed(_) => StoreFault::Ended,
        })
    }

    /// Records outcomes, soon; the receiver hears of it after the commit.
    ///
    /// # Errors
    /// [`StoreFault::Ended`].
    pub async fn record(&self, outcomes: Vec<Outcome>) -> Result<oneshot::Receiver<()>, StoreFault> {
        let (sender, recorded) = oneshot::channel();
        self.requests.send(Request::Record(outcomes, sender)).await.map_err(|_| StoreFault::Ended)?;
        Ok(recorded)
    }
}

fn not_taken(refused: TrySendError<Request>) -> NotAccepted {
    match refused {
        TrySendError::Full(_) => NotAccepted::Busy,
        TrySendError::Closed(_) => NotAccepted::Store(StoreFault::Ended.to_string()),
    }
}

async fn answered(answer: oneshot::Receiver<Answer>, deadline: Instant) -> Answer {
    match timeout_at(deadline, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(NotAccepted::Store(StoreFault::Ended.to_string())),
        // It may still be stored: only a repetition under the same key tells.
        Err(_) => Err(NotAccepted::Store("the disk did not answer in time".to_owned())),
    }
}

/// Everything that waits for the next transaction.
#[derive(Default)]
struct Gathering {
    batch: Batch,
    /// What the orders of the batch take up of the bound on bytes.
    rooms: Vec<Room>,
    callers: Vec<oneshot::Sender<Answer>>,
    recorders: Vec<oneshot::Sender<()>>,
    /// When marks and outcomes are committed even without an intake.
    due: Option<Instant>,
}

impl Gathering {
    fn take(&mut self, request: Request) {
        match request {
            Request::Accept(placed, room, caller) => return self.order(*placed, room, caller),
            Request::AcceptAll(all) => {
                for (placed, room, caller) in all {
                    self.order(placed, room, caller);
                }
                return;
            }
            Request::CommitMarks => {}
            Request::Record(outcomes, recorder) => {
                self.batch.outcomes.extend(outcomes);
                self.recorders.push(recorder);
            }
        }
        self.due.get_or_insert_with(|| Instant::now() + LINGER);
    }

    fn order(&mut self, placed: Placed, room: Room, caller: oneshot::Sender<Answer>) {
        self.batch.orders.push(placed);
        self.rooms.push(room);
        self.callers.push(caller);
    }

    fn full(&self) -> bool {
        self.batch.orders.len() >= MAX_ORDERS || self.batch.outcomes.len() >= MAX_OUTCOMES
    }

    fn is_due(&self) -> bool {
        !self.batch.orders.is_empty() || self.full() || self.due.is_some_and(|due| due <= Instant::now())
    }
}

async fn write<B: Backend>(
    mut backend: B,
    mut requests: mpsc::Receiver<Request>,
    marks: Marks,
    committed: mpsc::UnboundedSender<Committed>,
    metrics: WriterMetrics,
) {
    let mut gathering = Gathering::default();
    let mut open = true;
    let mut faulty = false;
    // At once, and then under load as well.
    let mut tick_at = B::TICK.map(|_| Instant::now());
    while open {
        if let Some(every) = B::TICK
            && tick_at.is_some_and(|at| at <= Instant::now())
        {
            let (ticked, more) = tick(&mut backend).await;
            faulty = matches!(ticked.result, Some(Err(_)));
            tick_at = Some(Instant::now() + if more { Duration::ZERO } else { every });
            let _ = committed.send(ticked);
        }
        let idle = if faulty { FAULT_PAUSE } else { SIGN_OF_LIFE };
        let mut wake_at = gathering.due.unwrap_or_else(|| Instant::now() + idle);
        if let Some(tick_at) = tick_at {
            wake_at = wake_at.min(tick_at);
        }
        match timeout_at(wake_at, requests.recv()).await {
            Ok(Some(request)) => {
                gathering.take(request);
                while !gathering.full() {
                    let Ok(request) = requests.try_recv() else { break };
                    gathering.take(request);
                }
            }
            Ok(None) => open = false,
            Err(_) if gathering.due.is_none() && tick_at.is_none_or(|at| at > Instant::now()) => {
                // Nobody sends orders to a store that is down: it has to look by itself.
                let result = if faulty { Some(backend.probe().await) } else { None };
                faulty = matches!(result, Some(Err(_)));
                let _ = committed.send(Committed::idle(result));
            }
            Err(_) => {}
        }
        if !open || gathering.is_due() {
            faulty = !commit(&mut backend, &mut gathering, &marks, &committed, &metrics).await;
        }
    }
    backend.release().await;
}

/// Says that this producer lives. Tells what came of it, and whether there is more to take over.
async fn tick(backend: &mut impl Backend) -> (Committed, bool) {
    match backend.tick().await {
        Ok(adopted) => (Committed { adopted, result: Some(Ok(())), ..Committed::default() }, adopted.more),
        Err(fault) => (Committed::idle(Some(Err(fault))), false),
    }
}

/// One transaction over all that was gathered. Tells whether it was committed.
async fn commit(
    backend: &mut impl Backend,
    gathering: &mut Gathering,
    marks: &Marks,
    committed: &mpsc::UnboundedSender<Committed>,
    metrics: &WriterMetrics,
) -> bool {
    gathering.batch.published_up_to = marks.due();
    let started = StdInstant::now();
    let result = backend.commit(&gathering.batch).await;
    metrics.seconds.observe(started.elapsed().as_secs_f64());
    let callers = std::mem::take(&mut gathering.callers);
    let message = match result {
        Ok(acceptances) => {
            metrics.commits.inc();
            if let Some(up_to) = gathering.batch.published_up_to {
                marks.committed(up_to);
            }
            if !callers.is_empty() {
                #[expect(clippy::cast_precision_loss, reason = "a group has at most hundreds of orders")]
                metrics.group.observe(callers.len() as f64);
            }
            let placed = std::mem::take(&mut gathering.batch.orders);
            gathering.rooms.clear();
            let mut entries = Vec::with_capacity(acceptances.len());
            let mut answers = Vec::with_capacity(acceptances.len());
            for ((acceptance, placed), caller) in acceptances.into_iter().zip(placed).zip(callers) {
                let answer = match acceptance {
                    Acceptance::New(position) => {
                        entries.push(OutboxEntry::new(position, &placed));
                        Ok(placed.receipt())
                    }
                    Acceptance::Replayed(receipt) => Ok(receipt),
                    Acceptance::KeyReused => Err(NotAccepted::KeyReused),
                };
                answers.push((caller, answer));
            }
            let Gathering { batch, recorders: recorded, .. } = std::mem::take(gathering);
            let mut changed: Vec<_> = batch.outcomes.iter().map(|outcome| outcome.order_id).collect();
            changed.dedup();
            Committed { entries, answers, recorded, changed, result: Some(Ok(())), ..Committed::default() }
        }
        Err(fault) => {
            metrics.faults.inc();
            tracing::error!(%fault, orders = callers.len(), "a transaction failed, nothing of it is stored");
            // Callers are told at once, and place again; marks and outcomes are kept and tried again.
            gathering.batch.orders.clear();
            gathering.rooms.clear();
            let not_accepted = NotAccepted::Store(fault.to_string());
            let answers = callers.into_iter().map(|caller| (caller, Err(not_accepted.clone()))).collect();
            let pause = Instant::now() + FAULT_PAUSE;
            if gathering.due.is_some() {
                gathering.due = Some(pause);
            }
            if gathering.full() {
                sleep_until(pause).await;
            }
            Committed { answers, result: Some(Err(fault)), ..Committed::default() }
        }
    };
    let done = matches!(message.result, Some(Ok(())));
    // Nobody listens any more only when the process ends.
    let _ = committed.send(message);
    done
}
