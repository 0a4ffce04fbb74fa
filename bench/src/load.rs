//! The load: orders go in at one end, two fake APIs are called at the other, and one clock serves both.
//!
//! All of it runs in this process, because a closed loop must learn at once that both APIs were called: a message
//! between processes per order would disturb what is measured. The fake APIs have a thread of their own, so that their
//! CPU time can be told from that of the generator.

mod client;
mod closed;
mod open;
mod apis;
mod book;
mod latency;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde::Serialize;

pub(crate) use self::book::Audit;
use self::{apis::FakeApis, book::Book, latency::Latencies};

/// The name of the pattern [`Pattern::Closed`].
pub(crate) const CLOSED_LOOP: &str = "closed loop";
/// A run has failed when no order was accepted or delivered for this long.
const STALLED: Duration = Duration::from_secs(60);

/// The fake APIs, and the book of what was placed and delivered since they were started.
#[derive(Debug)]
pub(crate) struct Load {
    book: Arc<Book>,
    apis: FakeApis,
}

/// Where orders go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) producer: SocketAddr,
    /// Whether each order carries an `Idempotency-Key`.
    pub(crate) keys: bool,
}

/// When orders are placed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pattern {
    /// This many at a time: each client places its next order when its last one has come this far.
    Closed { orders: u64, in_flight: u64, until: Until },
    /// At a fixed rate, whatever becomes of them. Done when all are delivered.
    Open { orders: u64, per_second: u64 },
}

/// How far an order has come when its client places the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Accepted,
    /// To both APIs.
    Delivered,
}

/// How a pattern went.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Placed {
    pub(crate) orders: u64,
    /// From the first order to the end of the last.
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// Responses with status 503; each of those orders was placed again.
    pub(crate) refused: u64,
    #[serde(flatten)]
    pub(crate) latencies: Latencies,
}

/// How a backlog was drained.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Drained {
    pub(crate) orders: u64,
    /// From the start of the processes to the last order.
    pub(crate) seconds_from_start: f64,
    /// From the first order to the last.
    pub(crate) per_second: f64,
    /// Orders per second in each tenth of the orders, first to last.
    pub(crate) tenths: Vec<f64>,
}

impl Pattern {
    pub(crate) fn orders(self) -> u64 {
        match self {
            Self::Closed { orders, .. } | Self::Open { orders, .. } => orders,
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Closed { .. } => CLOSED_LOOP.to_owned(),
            Self::Open { per_second, .. } => format!("{per_second}/s"),
        }
    }
}

impl Load {
    /// Starts the fake APIs.
    ///
    /// # Errors
    /// No port or no thread.
    pub(crate) fn start() -> Result<Self> {
        let book = Arc::new(Book::default());
        let apis = FakeApis::start(Arc::clone(&book))?;
        Ok(Self { book, apis })
    }

    /// The base URLs of the fake APIs.
    pub(crate) fn urls(&self) -> Result<[String; 2]> {
        self.apis.urls()
    }

    /// CPU time of the fake APIs.
    pub(crate) fn apis_cpu(&self) -> Result<Duration> {
        self.apis.cpu()
    }

    /// How many orders were answered with 202 so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.book.accepted_so_far() as u64
    }

    /// Places orders.
    ///
    /// # Errors
    /// An unexpected response, a broken connection, or nothing happened for a minute.
    pub(crate) async fn place(&self, target: Target, pattern: Pattern) -> Result<Placed> {
        let book = &self.book;
        let work = async {
            match pattern {
                Pattern::Closed { orders, in_flight, until } => {
                    closed::place(target, orders, in_flight, until, book).await
                }
                Pattern::Open { orders, per_second } => open::place(target, orders, per_second, book).await,
            }
        };
        self.unless_stalled(work).await
    }

    /// Waits until both APIs have received every order so far, and says how evenly that went.
    ///
    /// # Errors
    /// Nothing happened for a minute.
    pub(crate) async fn drained(&self) -> Result<Drained> {
        let start = Instant::now();
        let all = self.book.accepted_so_far();
        let wait = async {
            self.book.wait_for_delivered(all).await;
            Ok(())
        };
        self.unless_stalled(wait).await?;
        Drained::new(start.elapsed(), &self.book.delivery_times())
    }

    /// Checks every order so far.
    pub(crate) fn audit(&self) -> Audit {
        self.book.audit()
    }

    async fn unless_stalled<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            (accepted, delivered) = self.stalled() => {
                bail!("nothing happened for {STALLED:?}: {accepted} orders accepted, {delivered} delivered to both APIs")
            }
        }
    }

    async fn stalled(&self) -> (usize, usize) {
        let now = || (self.book.accepted_so_far(), self.book.delivered_so_far());
        let mut before = now();
        loop {
            tokio::time::sleep(STALLED).await;
            if now() == before {
                return before;
            }
            before = now();
        }
    }
}

impl Placed {
    fn new(orders: u64, took: Duration, refused: u64, latencies: Latencies) -> Self {
        Self { orders, seconds: took.as_secs_f64(), per_second: per_second(orders as usize, took), refused, latencies }
    }
}

impl Drained {
    fn new(took: Duration, times: &[Instant]) -> Result<Self> {
        const PARTS: usize = 10;
        let (Some(first), Some(last)) = (times.first(), times.last()) else { bail!("there was nothing to drain") };
        let until = |part: usize| times.len() * part / PARTS;
        let end = |part: usize| times.get(until(part).saturating_sub(1)).unwrap_or(first);
        let tenth = |part| per_second(until(part + 1) - until(part), *end(part + 1) - *end(part));
        Ok(Self {
            orders: times.len() as u64,
            seconds_from_start: took.as_secs_f64(),
            per_second: per_second(times.len(), *last - *first),
            tenths: (0..PARTS).map(tenth).collect(),
        })
    }
}

fn per_second(orders: usize, took: Duration) -> f64 {
    orders as f64 / took.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_timed_in_tenths() {
        let start = Instant::now();
        // Ten orders a millisecond apart, then ten that take twice as long.
        let times: Vec<_> = (1..=10).chain((12..=30).step_by(2)).map(|ms| start + Duration::from_millis(ms)).collect();
        let drained = Drained::new(Duration::from_secs(1), &times).unwrap();
        assert_eq!((drained.orders, drained.tenths.len()), (20, 10));
        assert_eq!(drained.tenths[1].round() as u64, 1_000);
        assert_eq!(drained.tenths[9].round() as u64, 500);
        assert!(Drained::new(Duration::ZERO, &[]).is_err());
    }
}
