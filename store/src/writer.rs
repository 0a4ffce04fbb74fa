//! Group commit: one owner of all writing, on a separate thread.
//!
//! Orders are committed at once: a single order never waits for others, and while a commit runs the
//! next group gathers by itself. Marks and outcomes share whatever is committed next, and
//! are committed alone only when nothing came for [`LINGER`].

mod room;
mod marks;
mod metrics;
mod backend;

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant as StdInstant},
};

use common::{order::OrderId, outcome::Report};
use tokio::{
    sync::{mpsc, mpsc::error::TrySendError, oneshot},
    time::{Instant, sleep, timeout_at},
};

use self::marks::Marks;
pub use self::{
    backend::{Acceptance, Backend, Batch},
    metrics::WriterMetrics,
    room::{Room, Space},
};
use crate::{Adopted, LaneMark, NotAccepted, OutboxEntry, Placed, Position, Receipt, StoreFault};

/// How long marks and outcomes wait for orders to share a transaction with.
const LINGER: Duration = Duration::from_millis(20);
/// At most this many orders per transaction, which bounds how long the first of them waits for the last.
/// Orders that were placed together are never parted, and may exceed it.
const MAX_ORDERS: usize = 512;
/// Most outcomes and waits in one transaction.
const MAX_REPORTED: usize = 4_096;
/// The pause after a failed transaction, before marks and outcomes are tried again.
const FAULT_PAUSE: Duration = Duration::from_millis(500);

/// How long a caller waits for a commit.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How often an idle writer shows that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What the writer is asked for. Room is given back when the order is committed, or refused.
enum Request {
    Accept(Box<Placed>, Room, oneshot::Sender<Answer>),
    /// Orders that go into one transaction.
    AcceptAll(Vec<(Placed, Room, oneshot::Sender<Answer>)>),
    CommitMarks,
    Record(Report, oneshot::Sender<()>),
}

/// What became of an order.
type Answer = Result<Receipt, NotAccepted>;

/// What one transaction brought, in one message: waking another thread costs more than the rest of
/// an answer. A message may also come without a transaction.
#[derive(Debug)]
pub struct Committed {
    /// New events for the relay, in the order of their commit.
    pub entries: Vec<OutboxEntry>,
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    recorded: Vec<oneshot::Sender<()>>,
    /// What was taken over from producers that have ended.
    pub adopted: Adopted,
    /// What was recorded of orders, here or by other producers.
    pub changed: Changes,
    /// What the writer is known to be able to do.
    pub writer: WriterState,
}

/// Of which orders something was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Of these.
    Of(Vec<OrderId>),
    /// Possibly of any.
    Unknown,
}

/// What is known of the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterState {
    /// Nothing new: the message does not come from it.
    Unchanged,
    /// It runs, and had nothing to write.
    Alive,
    /// It can write.
    Writing,
    /// It cannot write.
    Failing(StoreFault),
}

impl WriterState {
    fn is_failing(&self) -> bool {
        matches!(self, Self::Failing(_))
    }
}

impl From<Result<(), StoreFault>> for WriterState {
    fn from(written: Result<(), StoreFault>) -> Self {
        written.map_or_else(Self::Failing, |()| Self::Writing)
    }
}

impl Committed {
    fn without_transaction(writer: WriterState) -> Self {
        Self {
            entries: Vec::new(),
            answers: Vec::new(),
            recorded: Vec::new(),
            adopted: Adopted::default(),
            changed: Changes::Of(Vec::new()),
            writer,
        }
    }

    /// What other producers have recorded.
    pub(crate) fn elsewhere(changed: Changes) -> Self {
        Self { changed, ..Self::without_transaction(WriterState::Unchanged) }
    }

    /// Answers all callers. One that has left misses nothing: the order is stored.
    pub fn answer(self) {
        for (sender, answer) in self.answers {
            let _ = sender.send(answer);
        }
        for sender in self.recorded {
            let _ = sender.send(());
        }
    }
}

/// Access to the writer. Cloning shares it; the writer ends when the last clone is dropped.
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
    /// Starts the writer's thread. At most `queue` requests wait for the disk.
    ///
    /// # Errors
    /// The thread cannot be started.
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

    /// Accepts an order that takes up this room; the answer comes after the commit.
    ///
    /// Cancelling is safe: an order whose caller has left is either stored and delivered, or not stored at all.
    ///
    /// # Errors
    /// [`NotAccepted`].
    pub async fn accept(&self, placed: Placed, room: Room) -> Answer {
        let (sender, answer) = oneshot::channel();
        // The queue is the bound: beyond it the caller is refused at once.
        self.requests.try_send(Request::Accept(Box::new(placed), room, sender)).map_err(not_taken)?;
        answered(answer, Instant::now() + ANSWER_WITHIN).await
    }

    /// Accepts orders in one transaction; the answers are in the order of the orders. They count as one request
    /// in the queue; the caller has to bound their number.
    ///
    /// Cancelling is as safe as with [`Writes::accept`].
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

    /// Marks every event up to this position as published to every destination, and more of them to those that
    /// are further; with the next transaction or after [`Writes::commit_marks`]. Losing a mark only publishes once
    /// more.
    pub fn published(&self, up_to: Position, lanes: Vec<LaneMark>) {
        self.marks.published(up_to, lanes);
    }

    /// Commits marks even if nothing else comes.
    ///
    /// # Errors
    /// [`StoreFault::Busy`]: marks share a transaction with what the store is busy with. [`StoreFault::Ended`].
    pub fn commit_marks(&self) -> Result<(), StoreFault> {
        if self.marks.due().is_none() {
            return Ok(());
        }
        self.requests.try_send(Request::CommitMarks).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreFault::Busy,
            TrySendError::Closed(_) => StoreFault::Ended,
        })
    }

    /// Records what a worker reports, soon; the receiver is notified after the commit.
    ///
    /// # Errors
    /// [`StoreFault::Ended`].
    pub async fn record(&self, report: Report) -> Result<oneshot::Receiver<()>, StoreFault> {
        let (sender, recorded) = oneshot::channel();
        self.requests.send(Request::Record(report, sender)).await.map_err(|_| StoreFault::Ended)?;
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
        // It may still be stored: only a repetition under the same key shows.
        Err(_) => Err(NotAccepted::Store("the disk did not answer in time".to_owned())),
    }
}

/// Everything for the next transaction.
#[derive(Default)]
struct Gathering {
    batch: Batch,
    /// What the orders of the batch take up of the bound on bytes.
    rooms: Vec<Room>,
    callers: Vec<oneshot::Sender<Answer>>,
    recorders: Vec<oneshot::Sender<()>>,
    /// When marks and outcomes are committed even without orders.
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
            Request::Record(Report { outcomes, progress }, recorder) => {
                self.batch.outcomes.extend(outcomes);
                self.batch.progress.extend(progress);
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

    /// All of it is on disk: orders become entries of the outbox, and those who wait get their answers.
    fn committed(self, acceptances: Vec<Acceptance>) -> Committed {
        let Self { batch, rooms, callers, recorders, due: _ } = self;
        drop(rooms);
        let mut changed: Vec<_> = batch.changed().collect();
        changed.dedup();
        let mut entries = Vec::with_capacity(acceptances.len());
        let mut answers = Vec::with_capacity(acceptances.len());
        for ((acceptance, placed), caller) in acceptances.into_iter().zip(batch.orders).zip(callers) {
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
        Committed {
            entries,
            answers,
            recorded: recorders,
            adopted: Adopted::default(),
            changed: Changes::Of(changed),
            writer: WriterState::Writing,
        }
    }

    /// It failed. Callers get the fault at once, and may place again under the same key; marks and outcomes are
    /// kept for the next transaction, after a pause.
    fn failed(&mut self, fault: StoreFault) -> Committed {
        self.batch.orders.clear();
        self.rooms.clear();
        if self.due.is_some() {
            self.due = Some(Instant::now() + FAULT_PAUSE);
        }
        let not_accepted = NotAccepted::Store(fault.to_string());
        let answers = self.callers.drain(..).map(|caller| (caller, Err(not_accepted.clone()))).collect();
        Committed { answers, ..Committed::without_transaction(WriterState::Failing(fault)) }
    }

    fn full(&self) -> bool {
        let reported = self.batch.outcomes.len() + self.batch.progress.len();
        self.batch.orders.len() >= MAX_ORDERS || reported >= MAX_REPORTED
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
    let mut failing = false;
    // The first tick is due at once. Requests do not put ticks off.
    let mut tick_at = B::TICK.map(|_| Instant::now());
    while open {
        if let Some(every) = B::TICK
            && tick_at.is_some_and(|at| at <= Instant::now())
        {
            let (ticked, more) = tick(&mut backend).await;
            failing = ticked.writer.is_failing();
            tick_at = Some(Instant::now() + if more { Duration::ZERO } else { every });
            let _ = committed.send(ticked);
        }
        let idle = if failing { FAULT_PAUSE } else { SIGN_OF_LIFE };
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
                // Nobody sends orders to a store that is down: it has to check by itself.
                let state = if failing { backend.probe().await.into() } else { WriterState::Alive };
                failing = state.is_failing();
                let _ = committed.send(Committed::without_transaction(state));
            }
            Err(_) => {}
        }
        if !open || gathering.is_due() {
            let message = commit(&mut backend, &mut gathering, &marks, &metrics).await;
            failing = message.writer.is_failing();
            // Nobody receives it only when the process ends.
            let _ = committed.send(message);
        }
    }
    backend.release().await;
}

/// Shows that this producer is alive. Returns what came of it, and whether there is more to take over.
async fn tick(backend: &mut impl Backend) -> (Committed, bool) {
    match backend.tick().await {
        Ok(adopted) => (Committed { adopted, ..Committed::without_transaction(WriterState::Writing) }, adopted.more),
        Err(fault) => (Committed::without_transaction(WriterState::Failing(fault)), false),
    }
}

/// One transaction over all that was gathered.
async fn commit(
    backend: &mut impl Backend,
    gathering: &mut Gathering,
    marks: &Marks,
    metrics: &WriterMetrics,
) -> Committed {
    let due = marks.due();
    gathering.batch.published_up_to = due.as_ref().map(|marked| marked.up_to);
    gathering.batch.lanes = due.as_ref().map_or_else(Vec::new, |marked| marked.lanes.clone());
    let started = StdInstant::now();
    let result = backend.commit(&gathering.batch).await;
    metrics.seconds.observe(started.elapsed().as_secs_f64());
    match result {
        Ok(acceptances) => {
            metrics.committed(gathering.batch.orders.len());
            if let Some(marked) = due {
                marks.committed(marked);
            }
            std::mem::take(gathering).committed(acceptances)
        }
        Err(fault) => {
            metrics.faults.inc();
            tracing::error!(%fault, orders = gathering.callers.len(), "a transaction failed");
            let message = gathering.failed(fault);
            if gathering.full() {
                sleep(FAULT_PAUSE).await;
            }
            message
        }
    }
}
