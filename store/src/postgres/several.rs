//! What the stores of several producers on one database must do.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use common::{
    event::OrderCreated,
    order::OrderId,
    outcome::{Outcome, OutcomeStatus},
    status::OrderStatus,
};
use futures_util::future::join;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{commit::LAPSED, scratch::Producer, *};
use crate::{Changes, LaneMark, Placed, Position, WriterState, conformance};

async fn accept(producer: &mut Producer, orders: Vec<Placed>) -> Vec<Acceptance> {
    producer.commit(&Batch { orders, ..Batch::default() }).await.unwrap()
}

fn orders(count: usize) -> Vec<Placed> {
    (0..count).map(|_| conformance::placed(None)).collect()
}

fn positions(stored: &[Acceptance]) -> Vec<Position> {
    stored.iter().map(conformance::position).collect()
}

async fn waiting(producer: &Producer) -> Vec<OrderId> {
    producer.desk.outbox(0, 100_000).await.unwrap().into_iter().map(|entry| entry.order_id).collect()
}

/// As if the producer was frozen for longer than its lease.
async fn let_the_lease_end(scratch: &PostgresScratch, producer: &Producer) {
    let client = scratch.database.connect().await.unwrap();
    let owner = producer.desk.owner().unwrap();
    let ended = "UPDATE lines SET leased_until = now() - interval '1 second' WHERE owner = $1";
    assert_eq!(client.execute(ended, &[&owner]).await.unwrap(), 1);
}

async fn count(scratch: &PostgresScratch, what: &str) -> i64 {
    let client = scratch.database.connect().await.unwrap();
    client.query_one(&format!("SELECT count(*) FROM {what}"), &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn the_unpublished_outbox_of_a_producer_that_has_ended_is_taken_over() {
    let scratch = PostgresScratch::new().await;
    let (mut ended, mut other) = (scratch.open(), scratch.open_another().await);
    let stored = accept(&mut ended, orders(5)).await;
    let published = positions(&stored)[1];
    ended.commit(&Batch { published_up_to: Some(published), ..Batch::default() }).await.unwrap();
    let left = ended.desk.outbox(published, 100).await.unwrap();
    accept(&mut other, orders(1)).await;
    assert_eq!(other.tick().await.unwrap().events, 0, "it is alive");

    ended.release().await;
    let adopted = other.tick().await.unwrap();
    assert_eq!((adopted.events, adopted.last), (3, 4));
    let taken_over: Vec<_> = other.desk.outbox(1, 100).await.unwrap().into_iter().map(|entry| entry.order_id).collect();
    assert_eq!(taken_over, left.into_iter().map(|entry| entry.order_id).collect::<Vec<_>>(), "in their order");
    assert_eq!(positions(&accept(&mut other, orders(1)).await), [5]);
    assert_eq!(count(&scratch, "lines").await, 1);
    assert_eq!(other.tick().await.unwrap(), Adopted { last: 5, ..Adopted::default() });
}

#[tokio::test]
async fn what_one_destination_has_already_is_taken_over_for_the_others_alone() {
    let scratch = PostgresScratch::new().await;
    let (mut ended, mut other) = (scratch.open(), scratch.open_another().await);
    let stored = positions(&accept(&mut ended, orders(4)).await);
    let lanes = vec![LaneMark { destination: "south".parse().unwrap(), up_to: stored[2] }];
    ended.commit(&Batch { published_up_to: Some(stored[0]), lanes, ..Batch::default() }).await.unwrap();
    ended.release().await;
    assert_eq!(other.tick().await.unwrap().events, 3, "north has got one of four");
    let south = other.desk.outbox_of("south".parse().unwrap(), 0, 10).await.unwrap();
    let north = other.desk.outbox_of("north".parse().unwrap(), 0, 10).await.unwrap();
    assert_eq!((south.len(), north.len()), (1, 3));
    assert_eq!(south[0].order_id, north[2].order_id);
    assert_eq!((count(&scratch, "lanes").await, count(&scratch, "lines").await), (0, 1));
}

#[tokio::test]
async fn what_a_producer_published_is_found_overdue_even_after_its_end() {
    let scratch = PostgresScratch::new().await;
    let (mut ended, desk) = (scratch.open(), scratch.desk());
    let published_up_to = positions(&accept(&mut ended, orders(2)).await).last().copied();
    ended.commit(&Batch { published_up_to, ..Batch::default() }).await.unwrap();
    ended.release().await;
    assert_eq!(count(&scratch, "lines").await, 0);
    let marks = desk.published_marks().await.unwrap();
    // What is accepted after the marks were read may be unpublished.
    accept(&mut scratch.open_another().await, orders(1)).await;
    let found = desk.pending_published("north".parse().unwrap(), marks, jiff::Timestamp::now(), 10).await.unwrap();
    assert_eq!(found.total, 2);
}

#[tokio::test]
async fn a_producer_frozen_beyond_its_lease_continues_in_a_new_outbox() {
    let scratch = PostgresScratch::new().await;
    let (mut frozen, mut other) = (scratch.open(), scratch.open_another().await);
    let before = accept(&mut frozen, orders(3)).await;
    let_the_lease_end(&scratch, &frozen).await;
    assert_eq!(other.tick().await.unwrap().events, 3);

    let after = accept(&mut frozen, orders(2)).await;
    assert!(positions(&before).last() < positions(&after).first(), "no position is given twice: {before:?}, {after:?}");
    assert_eq!((waiting(&frozen).await.len(), waiting(&other).await.len()), (2, 3));
    // A mark of the old outbox does not hide what is in the new one.
    let published_up_to = positions(&before).last().copied();
    frozen.commit(&Batch { published_up_to, ..Batch::default() }).await.unwrap();
    assert_eq!(frozen.desk.backlog().await.unwrap().events, 2);
    assert_eq!(frozen.tick().await.unwrap().events, 0);
}

#[tokio::test]
async fn a_lease_that_ended_without_a_takeover_is_renewed() {
    let scratch = PostgresScratch::new().await;
    let mut producer = scratch.open();
    accept(&mut producer, orders(3)).await;
    let owner = producer.desk.owner();
    let_the_lease_end(&scratch, &producer).await;
    accept(&mut producer, orders(1)).await;
    assert_eq!((producer.desk.owner(), waiting(&producer).await.len()), (owner, 4));
    assert_eq!(scratch.open_another().await.tick().await.unwrap().events, 0);
}

#[tokio::test]
async fn two_producers_that_take_over_at_once_share_the_outbox() {
    const ORDERS: usize = 4_500;
    let scratch = PostgresScratch::new().await;
    let mut ended = scratch.open();
    accept(&mut ended, orders(ORDERS)).await;
    ended.release().await;
    let all = async |mut producer: Producer| {
        let mut adopted = 0;
        loop {
            let ticked = producer.tick().await.unwrap();
            adopted += ticked.events;
            if count(&scratch, "lines WHERE leased_until < now()").await == 0 {
                return (adopted, waiting(&producer).await);
            }
        }
    };
    let (one, other) = (scratch.open_another().await, scratch.open_another().await);
    let ((one, ones), (other, others)) = join(all(one), all(other)).await;
    assert_eq!(one + other, ORDERS as u64);
    let found: HashSet<_> = ones.iter().chain(&others).collect();
    assert_eq!((found.len(), ones.len() + others.len()), (ORDERS, ORDERS), "each is waiting at exactly one");
}

#[tokio::test]
async fn one_key_is_one_order_over_two_producers() {
    let scratch = PostgresScratch::new().await;
    let (mut one, mut other) = (scratch.open(), scratch.open_another().await);
    for round in 0..10 {
        let keys: Vec<_> = (0..20).map(|number| format!("{round}-{number}")).collect();
        // Each of them twice, and in opposite order: the second producer waits, and neither waits forever.
        let batch =
            |keys: Vec<&String>| keys.iter().chain(&keys).map(|key| conformance::placed(Some((key, 1)))).collect();
        let (forth, back) = (batch(keys.iter().collect()), batch(keys.iter().rev().collect()));
        let (ones, others) = join(accept(&mut one, forth), accept(&mut other, back)).await;
        let new = ones.iter().chain(&others).filter(|stored| matches!(stored, Acceptance::New(_))).count();
        assert_eq!((ones.len(), others.len(), new), (40, 40, 20));
        assert!(ones.iter().chain(&others).all(|stored| !matches!(stored, Acceptance::KeyReused)));
    }
    assert_eq!(count(&scratch, "orders").await, 200);
    assert_eq!(waiting(&one).await.len() + waiting(&other).await.len(), 200);
}

#[tokio::test]
async fn an_order_whose_last_two_outcomes_reach_two_producers_is_settled_once() {
    let scratch = PostgresScratch::new().await;
    let (mut one, mut other) = (scratch.open(), scratch.open_another().await);
    for _ in 0..10 {
        let orders = orders(40);
        let events: Vec<OrderCreated> = orders.iter().map(|placed| placed.event()).collect();
        accept(&mut one, orders).await;
        let outcomes = |destination: &str| -> Vec<Outcome> {
            events.iter().map(|order| conformance::outcome(order, destination, OutcomeStatus::Delivered)).collect()
        };
        let (north, mut south) = (outcomes("north"), outcomes("south"));
        south.reverse();
        let batch = |outcomes| Batch { outcomes, ..Batch::default() };
        let (north, south) = (batch(north), batch(south));
        let (ones, others) = join(one.commit(&north), other.commit(&south)).await;
        assert!(ones.is_ok() && others.is_ok(), "{ones:?}, {others:?}");
        for order in &events {
            let known = one.desk.order(order.order_id).await.unwrap().unwrap();
            assert_eq!(known.status(), OrderStatus::Delivered);
        }
    }
    assert_eq!(count(&scratch, "pending").await, 0);
    assert_eq!(count(&scratch, "deliveries WHERE status = 'delivered'").await, 800);
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_replaced_and_nothing_is_stored_twice() {
    let scratch = PostgresScratch::new().await;
    let mut producer = scratch.open();
    accept(&mut producer, orders(1)).await;
    let client = scratch.database.connect().await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'tandem producer: writer'";
    assert_eq!(client.execute(end, &[]).await.unwrap(), 1);
    accept(&mut producer, orders(1)).await;
    assert_eq!((waiting(&producer).await.len(), count(&scratch, "orders").await), (2, 2));
}

#[tokio::test]
async fn a_producer_is_notified_of_what_another_records() {
    let scratch = PostgresScratch::new().await;
    let (here, there) = (scratch.another().await, scratch.another().await);
    let (sender, mut committed) = mpsc::unbounded_channel();
    let (elsewhere, _) = mpsc::unbounded_channel();
    let ended = CancellationToken::new();
    let here_runs = tokio::spawn(here.notifications(sender.downgrade(), ended.clone()));
    let there_runs = tokio::spawn(there.notifications(elsewhere.downgrade(), ended.clone()));
    let mut changed = async || {
        let message = timeout(::tests::waiting::PATIENCE, committed.recv()).await.expect("a notification").unwrap();
        assert_eq!(message.writer, WriterState::Unchanged);
        message.changed
    };
    assert_eq!(changed().await, Changes::Unknown, "what was recorded before it listened");
    while count(&scratch, "pg_stat_activity WHERE query LIKE 'LISTEN tandem_orders%' AND state = 'idle'").await < 2 {
        tokio::task::yield_now().await;
    }
    let (mut here, mut there) = (Producer::of(&here), Producer::of(&there));
    here.tick().await.unwrap();
    let orders = orders(2);
    let events: Vec<OrderCreated> = orders.iter().map(|placed| placed.event()).collect();
    accept(&mut there, orders).await;
    let outcomes = events.iter().map(|order| conformance::outcome(order, "north", OutcomeStatus::Delivered)).collect();
    there.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
    let Changes::Of(mut changed_orders) = changed().await else { panic!("not of these orders") };
    changed_orders.sort_unstable_by_key(|order_id| order_id.0);
    let mut recorded: Vec<_> = events.iter().map(|order| order.order_id).collect();
    recorded.sort_unstable_by_key(|order_id| order_id.0);
    assert_eq!(changed_orders, recorded);

    // A frozen producer was taken for dead, and was not notified.
    here.renewed_at = Instant::now().checked_sub(LAPSED * 2);
    here.tick().await.unwrap();
    assert_eq!(changed().await, Changes::Unknown);
    ended.cancel();
    let ends = timeout(::tests::waiting::PATIENCE, join(here_runs, there_runs)).await.expect("the end of both");
    assert!(ends.0.is_ok() && ends.1.is_ok(), "{ends:?}");
}

/// A proxy that breaks the connection right after the next commit, before the answer has come back.
async fn breaking_after_a_commit(upstream: String) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, armed) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    tokio::spawn({
        let armed = Arc::clone(&armed);
        async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&upstream).await.unwrap();
                tokio::spawn(until_a_commit(client, server, Arc::clone(&armed)));
            }
        }
    });
    (address, armed)
}

async fn until_a_commit(mut client: TcpStream, mut server: TcpStream, armed: Arc<AtomicBool>) -> std::io::Result<()> {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let sent = &up[..read?];
                if sent.is_empty() {
                    return Ok(());
                }
                server.write_all(sent).await?;
                if sent.windows(6).any(|text| text == b"COMMIT") && armed.swap(false, Relaxed) {
                    // The answer is lost.
                    server.read_u8().await?;
                    return Ok(());
                }
            }
            read = server.read(&mut down) => {
                let received = &down[..read?];
                if received.is_empty() {
                    return Ok(());
                }
                client.write_all(received).await?;
            }
        }
    }
}

#[tokio::test]
async fn orders_whose_commit_was_never_confirmed_are_published_all_the_same() {
    let scratch = PostgresScratch::new().await;
    let url = scratch.database.url();
    let (address, armed) = breaking_after_a_commit(::tests::url::address(url).unwrap()).await;
    let address = PostgresAddress::parse(&::tests::url::through(url, address).unwrap()).unwrap();
    let producer = Shared::open(address, &TaskTracker::new()).await.unwrap();
    let mut producer = Producer::of(&producer);
    let first = positions(&accept(&mut producer, orders(2)).await);
    let line = producer.desk.owner().unwrap();

    armed.store(true, Relaxed);
    let unheard = Batch { orders: orders(3), published_up_to: Some(first[0]), ..Batch::default() };
    assert!(matches!(producer.commit(&unheard).await, Err(StoreFault::Database(_))));
    assert_eq!((armed.load(Relaxed), count(&scratch, "orders").await), (false, 5), "they are stored");
    // The relay gets what comes next, and would skip what it never got.
    let next = positions(&accept(&mut producer, orders(1)).await);
    let published_up_to = Some(next[0]);
    producer.commit(&Batch { published_up_to, ..Batch::default() }).await.unwrap();

    let client = scratch.database.connect().await.unwrap();
    let ended = "UPDATE lines SET leased_until = now() - interval '1 second' WHERE owner = $1";
    assert_eq!(client.execute(ended, &[&line]).await.unwrap(), 1);
    assert_eq!(producer.tick().await.unwrap().events, 4, "all but what was published before");
    let waiting: Vec<_> =
        producer.desk.outbox(next[0], 100).await.unwrap().into_iter().map(|entry| entry.order_id).collect();
    assert!(unheard.orders.iter().all(|placed| waiting.contains(&placed.order_id)), "{waiting:?}");
}
