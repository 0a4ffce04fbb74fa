//! Orders followed live, as streams of events.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    order::Order,
    process::Process,
    system::{Role, System},
    waiting::PATIENCE,
};
use tokio::time::timeout;

use crate::{
    crowd,
    ending::Ending,
    scrape,
    stores::{Store, over_both_stores},
};

/// An event as a client reads it.
#[derive(Clone, Debug)]
struct Event {
    kind: String,
    id: String,
    data: Value,
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

    /// The next event; none at the end of the stream. What is no event is read over, as browsers do.
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

/// The orders that the feed of all orders tells of as settled after this event, until so many are told.
pub(crate) async fn settled_since(producer: &Process, last_id: &str, count: usize) -> Result<HashSet<String>> {
    let mut stream = Stream::open(producer, "/v1/events", last_id).await?;
    let (mut settled, mut ends) = (HashMap::new(), HashSet::new());
    while settled.len() < count {
        note(timeout(PATIENCE, stream.next()).await??.context("the feed ended")?, &mut settled, &mut ends);
    }
    Ok(settled.into_keys().collect())
}

over_both_stores!(
    an_order_is_followed_live_until_it_is_settled,
    the_feed_loses_nothing_when_its_reader_or_the_producer_is_cut_off,
);

async fn an_order_is_followed_live_until_it_is_settled(store: &Store) -> Result<()> {
    let mut system = store.builder().without_workers().with_quick_retries().start().await?;
    let placed = system.place(&Order::of("fulfillment-status-422")).await?;
    let path = format!("{}/events", placed.location);
    let stream = Stream::open(system.producer()?, &path, "").await?;
    let late = system.start_ready(Role::Inventory).await.map(drop);
    late?;
    system.start_ready(Role::Fulfillment).await?;
    let events = timeout(PATIENCE, stream.rest()).await??;
    let mut sorted = kinds(&events);
    assert_eq!(sorted.last(), Some(&"settled"));
    sorted.sort_unstable();
    assert_eq!(sorted, ["attempt", "attempt", "dead_lettered", "delivered", "settled"]);
    for event in &events {
        assert_eq!(event.data["order_id"], placed.order_id);
        assert_eq!(event.data["correlation_id"], placed.correlation_id);
        match event.kind.as_str() {
            "settled" => assert_eq!(event.data["status"], "partially_delivered"),
            "attempt" => assert!(event.data["attempt"]["status_code"].is_u64(), "{event:?}"),
            kind => assert_eq!(event.data["delivery"]["status"], kind, "{event:?}"),
        }
    }
    // Later, all at once; and from any of them, the rest.
    let all = Stream::open(system.producer()?, &path, "").await?.rest().await?;
    assert_eq!(all.len(), 5);
    for (place, event) in all.iter().enumerate().take(4) {
        let rest = Stream::open(system.producer()?, &path, &event.id).await?.rest().await?;
        assert_eq!(kinds(&rest), kinds(&all[place + 1..]), "after {}", event.id);
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
            let first = Stream::open(system.producer()?, "/v1/events", "").await?;
            let mut last_id = String::new();
            let mut settled = HashMap::<String, Value>::new();
            let mut ends = HashSet::new();
            drop(first);
            let mut placed = Vec::new();
            for round in 0..3 {
                let mut stream = Stream::open(system.producer()?, "/v1/events", &last_id).await?;
                if last_id.is_empty() {
                    // From now on: the feed says where that is.
                    last_id = "0".to_owned();
                }
                placed.extend(crowd::place(system, 40, &Order::healthy()).await?);
                placed.extend(crowd::place(system, 10, &Order::of("fulfillment-status-422")).await?);
                // Some of it is read, then the line is cut in the middle.
                for _ in 0..60 {
                    let event = timeout(PATIENCE, stream.next()).await??.context("the feed ended")?;
                    last_id.clone_from(&event.id);
                    note(event, &mut settled, &mut ends);
                }
                drop(stream);
                if round == 1 {
                    system.replace(Role::Producer).await?;
                }
            }
            crowd::settled(system, &placed).await?;
            let mut stream = Stream::open(system.producer()?, "/v1/events", &last_id).await?;
            while settled.len() < placed.len() {
                let event = timeout(PATIENCE, stream.next()).await??.context("the feed ended")?;
                note(event, &mut settled, &mut ends);
            }
            assert_eq!(ends.len(), 2 * placed.len(), "each delivery ended");
            for order_id in &placed {
                let order = system.order(order_id).await?;
                assert_eq!(settled.get(order_id), Some(&order["status"]), "{order}");
            }
            Ok(())
        })
        .await
}

fn note(event: Event, settled: &mut HashMap<String, Value>, ends: &mut HashSet<(String, String)>) {
    let order_id = event.data["order_id"].as_str().unwrap_or_default().to_owned();
    match event.kind.as_str() {
        "settled" => drop(settled.insert(order_id, event.data["status"].clone())),
        "delivered" | "dead_lettered" => {
            ends.insert((order_id, event.data["destination"].to_string()));
        }
        _ => {}
    }
}

#[tokio::test]
async fn open_streams_do_not_delay_the_exit_of_a_producer() -> Result<()> {
    let mut system = System::builder().without_workers().start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let producer = system.take(Role::Producer)?;
    let one = Stream::open(&producer, &format!("{}/events", placed.location), "").await?;
    let all = Stream::open(&producer, "/v1/events", "").await?;
    scrape::wait_for(&producer, "tandem_http_event_streams", &[], |open| open == 2.0).await?;
    producer.terminate()?;
    // They end in good order, as a body that is complete.
    assert_eq!((one.rest().await?.len(), all.rest().await?.len()), (0, 0));
    let ending = Ending::of(&producer).await?;
    assert_eq!(ending.code, Some(0));
    assert!(!ending.says("cutting HTTP connections that did not finish in time"), "{}", ending.text());
    Ok(())
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_is_refused_with_a_reason() -> Result<()> {
    let system = System::builder().without_workers().env(Role::Producer, "EVENT_STREAMS", 1).start().await?;
    let producer = system.producer()?;
    let get = async |path: &str, last_id: &str| {
        let request = tests::http::client()?.get(format!("{}{path}", producer.url().await?));
        let response = request.header("last-event-id", last_id).send().await?;
        anyhow::Ok((response.status().as_u16(), serde_json::from_slice::<Value>(&response.bytes().await?)?))
    };
    let (status, problem) = get(&format!("/v1/orders/{}/events", uuid::Uuid::now_v7()), "").await?;
    assert_eq!((status, &problem["type"]), (404, &json!("/problems/unknown-order")));
    let (status, problem) = get("/v1/events", "yesterday").await?;
    assert_eq!((status, &problem["errors"][0]["header"]), (400, &json!("Last-Event-ID")));
    let open = Stream::open(producer, "/v1/events", "").await?;
    let (status, problem) = get("/v1/events", "").await?;
    assert_eq!((status, &problem["type"]), (503, &json!("/problems/too-many-streams")));
    drop(open);
    scrape::wait_for(producer, "tandem_http_event_streams", &[], |open| open == 0.0).await
}
