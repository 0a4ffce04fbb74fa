//! The open loop: orders at a fixed rate, whatever becomes of them.
//!
//! A thread of its own keeps the pace and writes the requests: the timers of the asynchronous runtime are a
//! millisecond coarse. The answers are read elsewhere. Latency counts from the time an order was to be sent, so that a
//! producer that stalls cannot hide the orders that were not sent meanwhile.

use std::{
    io::Write as _,
    net::TcpStream as StdStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

use super::{
    book::Book,
    protocol::{Placed, Target},
    request::Requests,
    wire::Reader,
};

/// Connections opened at the start; more are opened when all of them wait for an answer.
const CONNECTIONS: usize = 16;
/// Most connections; with all of them waiting, orders are late, and that shows in their latency.
const MAX_CONNECTIONS: usize = 1_000;
/// How long the pace is held up before another look for a free connection.
const NONE_FREE_PAUSE: Duration = Duration::from_micros(200);
/// The time from the call to the first order: threads and connections are there by then.
const LEAD: Duration = Duration::from_millis(50);

/// Places `orders` at `per_second`, and waits until both APIs are told of all.
///
/// # Errors
/// An answer other than 202, or a connection that breaks.
pub(super) async fn place(target: Target, orders: u64, per_second: u32, book: &Book) -> Result<Placed> {
    let before = book.completed();
    let shared = Arc::new(Shared::default());
    let (opened, mut to_read) = mpsc::unbounded_channel();
    let first = Instant::now() + LEAD;
    let pacer = thread::Builder::new().name("load-pacer".to_owned()).spawn({
        let shared = Arc::clone(&shared);
        move || pace(target, orders, per_second, first, &shared, &opened)
    })?;
    let mut readers = JoinSet::new();
    // The pacer's end ends this channel.
    while let Some(connection) = to_read.recv().await {
        let connection: Arc<Connection> = connection;
        let stream = TcpStream::from_std(connection.stream.try_clone()?)?;
        readers.spawn(read(stream, connection, Arc::clone(&shared), book.clone()));
        // A reader that has ended is one that failed, or whose connection was closed while idle.
        while let Some(ended) = readers.try_join_next() {
            ended??;
        }
    }
    pacer.join().map_err(|_| anyhow!("the pacer panicked"))??;
    let orders_there = usize::try_from(orders)?;
    let all_told = book.wait_for_completed(before + orders_there);
    tokio::pin!(all_told);
    loop {
        tokio::select! {
            () = &mut all_told => break,
            Some(ended) = readers.join_next() => ended??,
        }
    }
    while shared.answers.load(Ordering::Acquire) < orders {
        // The last answers may be read after the APIs were told.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = first.elapsed();
    readers.abort_all();
    Ok(Placed::new(orders, took, 0, &book.latencies(first)))
}

#[derive(Debug, Default)]
struct Shared {
    free: Mutex<Vec<Arc<Connection>>>,
    answers: AtomicU64,
}

#[derive(Debug)]
struct Connection {
    stream: StdStream,
    /// When the order that runs on it was to be sent; none between orders.
    intended: Mutex<Option<Instant>>,
}

impl Shared {
    fn free(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn open(target: Target) -> Result<Arc<Self>> {
        let stream = StdStream::connect(target.producer).context("cannot connect to the producer")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Arc::new(Self { stream, intended: Mutex::default() }))
    }

    fn intended(&self) -> MutexGuard<'_, Option<Instant>> {
        self.intended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pace(
    target: Target,
    orders: u64,
    per_second: u32,
    first: Instant,
    shared: &Shared,
    opened: &mpsc::UnboundedSender<Arc<Connection>>,
) -> Result<()> {
    let mut requests = Requests::new(target);
    let mut connections = 0;
    let mut open = || {
        connections += 1;
        let connection = Connection::open(target)?;
        // Its reader has ended only when the run has failed.
        let _ = opened.send(Arc::clone(&connection));
        Ok::<_, anyhow::Error>((connection, connections))
    };
    for _ in 0..CONNECTIONS {
        let (connection, _) = open()?;
        shared.free().push(connection);
    }
    let mut count = CONNECTIONS;
    for number in 0..orders {
        let intended = first + Duration::from_nanos(number * 1_000_000_000 / u64::from(per_second));
        let now = Instant::now();
        if intended > now {
            thread::sleep(intended - now);
        }
        let connection = loop {
            if let Some(connection) = shared.free().pop() {
                break connection;
            }
            if count < MAX_CONNECTIONS {
                let (connection, now_open) = open()?;
                count = now_open;
                break connection;
            }
            if opened.is_closed() {
                bail!("the readers have ended");
            }
            thread::sleep(NONE_FREE_PAUSE);
        };
        *connection.intended() = Some(intended);
        // A request of some hundred bytes fits into the socket's buffer, so this neither blocks nor splits.
        (&connection.stream).write_all(requests.order(number)).context("cannot send an order")?;
    }
    Ok(())
}

async fn read(mut stream: TcpStream, connection: Arc<Connection>, shared: Arc<Shared>, book: Book) -> Result<()> {
    let mut reader = Reader::default();
    while let Some(answer) = reader.next(&mut stream).await? {
        let Some(202) = answer.status() else {
            bail!("the producer answered {:?}: {}", answer.status(), String::from_utf8_lossy(answer.body));
        };
        let order = answer.order_id().ok_or_else(|| anyhow!("an answer 202 without order_id"))?;
        let intended = connection.intended().take().ok_or_else(|| anyhow!("an answer that nobody asked for"))?;
        book.accepted(order, intended, None);
        shared.answers.fetch_add(1, Ordering::Release);
        shared.free().push(Arc::clone(&connection));
    }
    if connection.intended().is_some() {
        bail!("the producer hung up");
    }
    shared.free().retain(|free| !Arc::ptr_eq(free, &connection));
    Ok(())
}
