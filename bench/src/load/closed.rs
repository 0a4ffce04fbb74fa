//! The closed loop: clients that each place their next order when the last one is done.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::try_join_all;
use tokio::sync::Notify;

use super::{
    Placed, Target, Until,
    book::Book,
    client::{Client, Response},
};

/// The pause after a 503, which asks to try again later.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Places orders, `in_flight` at a time.
///
/// # Errors
/// Any response other than 202 and 503, or a broken connection.
pub(super) async fn place(target: Target, orders: u64, in_flight: u64, until: Until, book: &Book) -> Result<Placed> {
    let clients = try_join_all((0..in_flight).map(|_| Client::connect(target))).await?;
    let numbers = RefCell::new(0..orders);
    let refused = Cell::new(0);
    let work = async |mut client: Client| -> Result<()> {
        let delivered = Arc::new(Notify::new());
        let waiter = (until == Until::Delivered).then_some(&delivered);
        loop {
            let Some(number) = numbers.borrow_mut().next() else { return Ok(()) };
            let intended = Instant::now();
            let order_id = loop {
                match client.place(number).await? {
                    Response::Accepted(order_id) => break order_id,
                    Response::Refused => {
                        refused.set(refused.get() + 1);
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                }
            };
            if !book.accepted(order_id, intended, waiter) && waiter.is_some() {
                delivered.notified().await;
            }
        }
    };
    let start = Instant::now();
    try_join_all(clients.into_iter().map(work)).await?;
    Ok(Placed::new(orders, start.elapsed(), refused.get(), book.latencies(start)))
}
