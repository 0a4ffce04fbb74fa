//! The closed loop: clients that each place their next order when the last one is done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::Notify, task::JoinSet};

use super::{
    book::Book,
    protocol::{Placed, Target, Until},
    request::Requests,
    wire::Reader,
};

/// The pause after 503, which says to come again later.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Places orders, `in_flight` at a time.
///
/// # Errors
/// An answer other than 202 and 503, or a connection that breaks.
pub(super) async fn place(target: Target, orders: u64, in_flight: usize, until: Until, book: &Book) -> Result<Placed> {
    let shared = Arc::new(Shared { target, orders, until, next: AtomicU64::new(0), refused: AtomicU64::new(0) });
    let mut clients = JoinSet::new();
    let mut streams = Vec::with_capacity(in_flight);
    for _ in 0..in_flight {
        let stream = TcpStream::connect(target.producer).await.context("cannot connect to the producer")?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let start = Instant::now();
    for stream in streams {
        clients.spawn(client(stream, Arc::clone(&shared), book.clone()));
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let took = start.elapsed();
    Ok(Placed::new(orders, took, shared.refused.load(Ordering::Relaxed), &book.latencies(start)))
}

#[derive(Debug)]
struct Shared {
    target: Target,
    orders: u64,
    until: Until,
    next: AtomicU64,
    refused: AtomicU64,
}

async fn client(mut stream: TcpStream, shared: Arc<Shared>, book: Book) -> Result<()> {
    let mut requests = Requests::new(shared.target);
    let mut reader = Reader::default();
    let told = Arc::new(Notify::new());
    let waiter = (shared.until == Until::Told).then_some(&told);
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.orders {
            return Ok(());
        }
        let intended = Instant::now();
        loop {
            stream.write_all(requests.order(number)).await?;
            let answer = reader.next(&mut stream).await?.ok_or_else(|| anyhow!("the producer hung up"))?;
            match answer.status() {
                Some(202) => {
                    let order = answer.order_id().ok_or_else(|| anyhow!("an answer 202 without order_id"))?;
                    if !book.accepted(order, intended, waiter) && waiter.is_some() {
                        told.notified().await;
                    }
                    break;
                }
                Some(503) => {
                    shared.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                other => bail!("the producer answered {other:?}: {}", String::from_utf8_lossy(answer.body)),
            }
        }
    }
}
