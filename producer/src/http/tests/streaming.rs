//! Streams of events, read as they come.

use futures_util::StreamExt as _;

use super::{clock::Clock, *};
use store::{
    Backend as _, Batch,
    testing::{ended, order},
};

/// An open stream, read event by event.
struct Reading {
    status: StatusCode,
    headers: HeaderMap,
    chunks: axum::body::BodyDataStream,
}

impl Bench {
    async fn open(&self, path: &str, last_event_id: &str) -> Reading {
        let request = Request::get(path).header("Last-Event-ID", last_event_id).body(Body::empty()).unwrap();
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        Reading { status: head.status, headers: head.headers, chunks: body.into_data_stream() }
    }
}

impl Reading {
    /// The next piece that holds an event, with everything that precedes it.
    async fn next(&mut self) -> Option<String> {
        let chunk = self.chunks.next().await?.unwrap();
        Some(String::from_utf8(chunk.to_vec()).unwrap())
    }

    async fn rest(mut self) -> String {
        let mut all = String::new();
        while let Some(text) = self.next().await {
            all += &text;
        }
        all
    }
}

fn events(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

fn last_id(text: &str) -> &str {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_order_is_followed_until_it_is_settled_and_after_an_interruption() {
    let clock = Clock::hold();
    let bench = Bench::new().await;
    let placed = bench.place(&[], VALID).await;
    let path = format!("{}/events", placed.header("Location").unwrap());
    let order_id = bench.last_placed().await;
    let mut stream = bench.open(&path, "").await;
    assert_eq!((stream.status.as_u16(), &stream.headers["Content-Type"]), (200, &"text/event-stream".parse().unwrap()));
    assert_eq!(stream.next().await.as_deref(), Some("retry: 1000\n\n"));
    let (comment, ()) = tokio::join!(stream.next(), clock.pass(15));
    assert_eq!(comment.as_deref(), Some(":\n\n"), "a comment if nothing happens");
    assert!(bench.metrics.encode().contains("tandem_http_event_streams 1\n"));

    bench.record(order_id, "inventory", true).await;
    let first = stream.next().await.unwrap();
    assert_eq!(events(&first), ["attempt", "delivered"]);
    drop(stream);
    assert!(bench.metrics.encode().contains("tandem_http_event_streams 0\n"));

    bench.record(order_id, "fulfillment", false).await;
    let rest = bench.open(&path, last_id(&first)).await.rest().await;
    assert_eq!(events(&rest), ["attempt", "dead_lettered", "settled"]);
    let data: Value = serde_json::from_str(rest.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap();
    assert_eq!((&data["destination"], &data["attempt"]["status_code"]), (&"fulfillment".into(), &200.into()));
    assert_eq!(events(&bench.open(&path, "").await.rest().await).len(), 5, "all of a settled order at once");
    assert_eq!(bench.open(&path, last_id(&rest)).await.status, 204, "there is no reason to reconnect");
}

#[tokio::test]
async fn the_feed_has_all_orders_in_the_order_of_their_commits_and_loses_nothing() {
    let bench = Bench::new().await;
    let mut store = bench.scratch.writer();
    let orders: Vec<_> = (0..50).map(|number| order("c-1", number)).collect();
    let events_of: Vec<_> = orders.iter().map(|placed| placed.event()).collect();
    store.commit(&Batch { orders, ..Batch::default() }).await.unwrap();
    let mut now_on = bench.open("/v1/events", "").await;
    assert_eq!(now_on.next().await.as_deref(), Some("retry: 1000\nid: 0\n\n"));
    let outcomes =
        events_of.iter().flat_map(|event| [ended(event, "north", true), ended(event, "south", false)]).collect();
    store.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
    bench.watch.changed(&[]);
    bench.watch.missed();

    let mut all = String::new();
    while events(&all).len() < 250 {
        all += &now_on.next().await.unwrap();
    }
    let names: Vec<_> = events(&all);
    assert_eq!(names[..5], ["attempt", "delivered", "attempt", "dead_lettered", "settled"]);
    assert_eq!((names.len(), last_id(&all)), (250, "100"));
    // Cut off in the middle of a change, and in the middle of the feed.
    for id in ["57.1", "57", "58.2", "0"] {
        let at = all.find(&format!("\nid: {id}\n")).map_or(0, |at| at + all[at..].find("\n\n").unwrap());
        let mut again = bench.open("/v1/events", id).await;
        let mut rest = String::new();
        while events(&rest).len() < events(&all[at..]).len() {
            rest += &again.next().await.unwrap();
        }
        assert_eq!(events(&rest), events(&all[at..]), "after {id}");
    }
    bench.shutdown.cancel();
    assert_eq!(now_on.rest().await, "", "the stream ends with the process");
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_is_refused() {
    let bench = Bench::new().await;
    let unknown = "/v1/orders/019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40/events";
    assert_refused(&bench.get(unknown).await, 404, "unknown-order");
    assert_refused(&bench.get("/v1/orders/x/events").await, 404, "unknown-order");
    let placed = bench.place(&[], VALID).await;
    let path = format!("{}/events", placed.header("Location").unwrap());
    for (path, id) in [(path.as_str(), "x"), ("/v1/events", "x"), ("/v1/events", "1")] {
        let request = Request::get(path).header("Last-Event-ID", id).body(Body::empty()).unwrap();
        let answer = bench.send(request).await;
        assert_refused(&answer, 400, "invalid-header");
        assert_eq!(answer.faults()[0].0, "Last-Event-ID");
    }
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(bench.open("/v1/events", "").await);
    }
    let refused = bench.get("/v1/events").await;
    assert_refused(&refused, 503, "too-many-streams");
    assert_eq!(refused.header("Retry-After"), Some("5"));
    assert_refused(&bench.get(&path).await, 503, "too-many-streams");
    open.pop();
    assert_eq!(bench.open(&path, "").await.status, 200);
}
