//! The open loop: orders at a fixed rate, whatever becomes of them.
//!
//! Latency counts from the time an order was to be sent, so a producer that stalls cannot hide the orders that were not
//! sent in the meantime.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures_util::{StreamExt as _, future::try_join_all, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    Placed, Target,
    book::Book,
    client::{Client, Response},
};

/// Connections opened at the start; more are opened when all of them wait for a response.
const CONNECTIONS: usize = 16;
/// With this many orders waiting for a response the next one is late, and that shows in its latency.
const MAX_CONNECTIONS: usize = 1_000;
/// From the call to the first order: the pacer runs by then.
const LEAD: Duration = Duration::from_millis(50);

/// The number of an order, and when it is to be sent.
type Due = (u64, Instant);

/// Places `orders` at `per_second`, and waits until both APIs have received all of them.
///
/// # Errors
/// Any response other than 202, or a broken connection.
pub(super) async fn place(target: Target, orders: u64, per_second: u64, book: &Book) -> Result<Placed> {
    let delivered_before = book.delivered_so_far();
    let mut free = try_join_all((0..CONNECTIONS).map(|_| Client::connect(target))).await?;
    let first = Instant::now() + LEAD;
    let mut due = pace(orders, per_second, first)?;
    let mut in_flight = FuturesUnordered::new();
    let mut answered = 0;
    while answered < orders {
        tokio::select! {
            Some(order) = due.recv(), if in_flight.len() < MAX_CONNECTIONS => {
                in_flight.push(place_one(free.pop(), target, order, book));
            }
            Some(client) = in_flight.next() => {
                free.push(client?);
                answered += 1;
            }
        }
    }
    book.wait_for_delivered(delivered_before + orders as usize).await;
    Ok(Placed::new(orders, first.elapsed(), 0, book.latencies(first)))
}

/// Sends each order its number when it is due, from a thread of its own: the runtime's timers are a millisecond coarse.
/// The thread ends with the receiver.
fn pace(orders: u64, per_second: u64, first: Instant) -> Result<mpsc::UnboundedReceiver<Due>> {
    let (send, due) = mpsc::unbounded_channel();
    thread::Builder::new().name("pacer".to_owned()).spawn(move || {
        for number in 0..orders {
            let intended = first + Duration::from_nanos(number * 1_000_000_000 / per_second);
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            if send.send((number, intended)).is_err() {
                return;
            }
        }
    })?;
    Ok(due)
}

async fn place_one(free: Option<Client>, target: Target, (number, intended): Due, book: &Book) -> Result<Client> {
    let mut client = match free {
        Some(client) if client.is_open() => client,
        _ => Client::connect(target).await?,
    };
    match client.place(number).await? {
        Response::Accepted(order_id) => book.accepted(order_id, intended, None),
        Response::Refused => bail!("the producer refused an order with status 503"),
    };
    Ok(client)
}
