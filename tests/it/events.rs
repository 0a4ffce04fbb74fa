//! Orders followed live, as streams of events.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use api::{OrderEvent, OrderStatus, Problem, Word};
use common::event::now;
use jiff::SignedDuration;
use tests::{
    order::Order,
    process::Process,
    system::{Role, System},
    waiting::PATIENCE,
};
use tokio::time::timeout;

use crate::{
    exit::Exit,
    orders,
    stores::{Store, over_both_stores},
    waits,
};

/// An event as a client reads it.
#[derive(Clone, Debug)]
struct Event {
    kind: String,
    id: String,
    data: OrderEvent,
}

/// An open stream.
struct Stream {
    response: reqwest::Response,
    text: String,
    last_id: String,
}

impl Stream {
    async fn open(producer: &Process, path: &str, last_id: &str) -> Result<Self> {
        let mut request = tests::http::client()?.get(format!("{}{path}", producer.url().await?));
        if !last_id.is_empty() {
            request = request.header("last-event-id", last_id);
        }
        let response = request.send().await?;
        ensure!(response.status() == 200, "{path}: {}", response.status());
        Ok(Self { response, text: String::new(), last_id: last_id.to_owned() })
    }

    /// The next event; none at the end of the stream. Other blocks are ignored, as browsers do.
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(id) = field("id: ") {
                    self.last_id = id;
                }
                if let (Some(kind), Some(data)) = (field("event: "), field("data: ")) {
                    return Ok(Some(Event { kind, id: self.last_id.clone(), data: serde_json::from_str(&data)? }));
                }
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.text += std::str::from_utf8(&chunk)?,
                Ok(None) => return Ok(None),
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    /// All events up to the end of the stream.
    async fn rest(mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

/// The orders that the feed of all orders reports as settled after this event, once there are this many.
pub(crate) async fn settled_since(producer: &Process, last_id: &str, count: usize) -> Result<HashSet<String>> {
    let mut stream = Stream::open(producer, "/v1/events", last_id).await?;
    let mut seen = Seen::default();
    while seen.settled.len() < count {
        seen.note(timeout(PATIENCE, stream.next()).await??.context("the feed ended")?);
    }
    Ok(seen.settled.into_keys().collect())
}

over_both_stores!(
    an_order_is_followed_live_until_it_is_settled,
    attempts_are_shown_live_while_the_delivery_is_pending,
    the_feed_loses_nothing_when_its_reader_or_the_producer_is_cut_off,
);

async fn attempts_are_shown_live_while_the_delivery_is_pending(store: &Store) -> Result<()> {
    let system = store.builder().without_workers().start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let mut order = Stream::open(system.producer()?, &format!("{}/events", placed.location), "").await?;
    let mut feed = Stream::open(system.producer()?, "/v1/events", "").await?;
    let (message, event) = waits::next_event(&system).await?;
    for number in 1..=2 {
        let wait = waits::waits(&event, &message.body, now() + SignedDuration::from_hours(1))?;
        waits::report(&system, vec![], vec![wait]).await?;
        let live = timeout(PATIENCE, order.next()).await??.context("an attempt")?;
        assert_eq!((live.kind.as_str(), live.data.destination.as_deref()), ("attempt", Some("inventory")));
        assert!(live.data.attempt.is_some_and(|attempt| attempt.answer.is_some()));
        // In the feed all attempts of a delivery come with each change of it.
        for _ in 0..number {
            let live = timeout(PATIENCE, feed.next()).await??.context("an attempt")?;
            assert_eq!((live.kind.as_str(), &live.data.order_id), ("attempt", &placed.order_id));
        }
    }
    Ok(())
}

async fn an_order_is_followed_live_until_it_is_settled(store: &Store) -> Result<()> {
    let mut system = store.builder().without_workers().with_quick_retries().start().await?;
    let placed = system.place(&Order::of("fulfillment-status-422")).await?;
    let path = format!("{}/events", placed.location);
    let stream = Stream::open(system.producer()?, &path, "").await?;
    system.start_ready(Role::Inventory).await?;
    system.start_ready(Role::Fulfillment).await?;
    let events = timeout(PATIENCE, stream.rest()).await??;
    let mut sorted = kinds(&events);
    assert_eq!(sorted.last(), Some(&"settled"));
    sorted.sort_unstable();
    assert_eq!(sorted, ["attempt", "attempt", "dead_lettered", "delivered", "settled"]);
    for event in &events {
        let data = &event.data;
        assert_eq!((&data.order_id, &data.correlation_id), (&placed.order_id, &placed.correlation_id));
        match event.kind.as_str() {
            "settled" => assert_eq!(data.status, Some(OrderStatus::PartiallyDelivered.into())),
            "attempt" => assert!(data.attempt.as_ref().is_some_and(|it| it.status_code.is_some()), "{event:?}"),
            kind => assert!(data.delivery.as_ref().is_some_and(|it| it.status.as_str() == kind), "{event:?}"),
        }
    }
    // A later stream has all of them at once, and after each of them, the rest.
    let all = Stream::open(system.producer()?, &path, "").await?.rest().await?;
    assert_eq!(all.len(), 5);
    for (index, event) in all.iter().enumerate().take(4) {
        let rest = Stream::open(system.producer()?, &path, &event.id).await?.rest().await?;
        assert_eq!(kinds(&rest), kinds(&all[index + 1..]), "after {}", event.id);
    }
    let request = tests::http::client()?.get(format!("{}{path}", system.producer()?.url().await?));
    assert_eq!(request.header("last-event-id", &all[4].id).send().await?.status(), 204);
    Ok(())
}

async fn the_feed_loses_nothing_when_its_reader_or_the_producer_is_cut_off(store: &Store) -> Result<()> {
    store
        .builder()
        .with_quick_retries()
        .run(async |system| {
            let mut last_id = String::new();
            let mut seen = Seen::default();
            let mut placed = Vec::new();
            for round in 0..3 {
                let mut stream = Stream::open(system.producer()?, "/v1/events", &last_id).await?;
                placed.extend(orders::place(system, 40, &Order::healthy()).await?);
                placed.extend(orders::place(system, 10, &Order::of("fulfillment-status-422")).await?);
                // Some events are read before the connection is cut.
                for _ in 0..60 {
                    let event = timeout(PATIENCE, stream.next()).await??.context("the feed ended")?;
                    last_id.clone_from(&event.id);
                    seen.note(event);
                }
                drop(stream);
                if round == 1 {
                    system.replace(Role::Producer).await?;
                }
            }
            orders::settled(system, &placed).await?;
            let mut stream = Stream::open(system.producer()?, "/v1/events", &last_id).await?;
            while seen.settled.len() < placed.len() {
                seen.note(timeout(PATIENCE, stream.next()).await??.context("the feed ended")?);
            }
            assert_eq!(seen.ends.len(), 2 * placed.len(), "each delivery ended");
            for order_id in &placed {
                assert_eq!(seen.settled.get(order_id), Some(&system.order(order_id).await?.status));
            }
            Ok(())
        })
        .await
}

/// What events have reported.
#[derive(Default)]
struct Seen {
    /// The status of each settled order.
    settled: HashMap<String, Word<OrderStatus>>,
    /// The order and destination of each delivery that has ended.
    ends: HashSet<(String, Option<String>)>,
}

impl Seen {
    fn note(&mut self, Event { kind, data, .. }: Event) {
        match (kind.as_str(), data.status) {
            ("settled", Some(status)) => drop(self.settled.insert(data.order_id, status)),
            ("delivered" | "dead_lettered", _) => drop(self.ends.insert((data.order_id, data.destination))),
            _ => {}
        }
    }
}

#[tokio::test]
async fn open_streams_do_not_delay_the_exit_of_a_producer() -> Result<()> {
    let mut system = System::builder().without_workers().start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let producer = system.take(Role::Producer)?;
    let one = Stream::open(&producer, &format!("{}/events", placed.location), "").await?;
    let all = Stream::open(&producer, "/v1/events", "").await?;
    producer.wait_for_metric("tandem_http_event_streams", &[], |open| open == 2.0).await?;
    producer.terminate()?;
    // They end normally, as complete bodies.
    assert_eq!((one.rest().await?.len(), all.rest().await?.len()), (0, 0));
    let exit = Exit::of(&producer).await?;
    assert_eq!(exit.code, Some(0));
    assert!(!exit.says("cutting HTTP connections that did not finish in time"), "{}", exit.text());
    Ok(())
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_is_refused_with_a_reason() -> Result<()> {
    let system = System::builder().without_workers().env(Role::Producer, "EVENT_STREAMS", 1).start().await?;
    let producer = system.producer()?;
    let get = async |path: &str, last_id: &str| {
        let request = tests::http::client()?.get(format!("{}{path}", producer.url().await?));
        let response = request.header("last-event-id", last_id).send().await?;
        anyhow::Ok(serde_json::from_slice::<Problem>(&response.bytes().await?)?)
    };
    let problem = get(&format!("/v1/orders/{}/events", uuid::Uuid::now_v7()), "").await?;
    assert_eq!((problem.status, &*problem.uri), (404, "/problems/unknown-order"));
    let problem = get("/v1/events", "yesterday").await?;
    assert_eq!((problem.status, problem.errors[0].header.as_deref()), (400, Some("Last-Event-ID")));
    let open = Stream::open(producer, "/v1/events", "").await?;
    let problem = get("/v1/events", "").await?;
    assert_eq!((problem.status, &*problem.uri), (503, "/problems/too-many-streams"));
    drop(open);
    producer.wait_for_metric("tandem_http_event_streams", &[], |open| open == 0.0).await
}
