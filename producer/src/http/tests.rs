//! The API as a client sees it: through the router, over its own store. Every response is held
//! against the published document on the way.

mod batches;
mod bodies;
mod clock;
mod dead_letters;
mod documents;
mod following;
mod headers;
mod lists;
mod placing;
mod redrives;
mod refusals;
mod schema_check;
mod streaming;
mod waiting;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use bytes::Bytes;
use common::{
    event::{self, Decoded, OrderCreated, now},
    health::{Health, Kind},
    order::{CorrelationId, OrderId},
    outcome::{Attempt, Outcome, Report},
};
use serde_json::Value;
use store::{
    Database, OrderFilter, OutboxEntry, Store, Writes,
    testing::{Scratch, ended, names},
};
use tokio::task::yield_now;
use tower::ServiceExt as _;

use super::{edge::problem::PROBLEM_TYPES, *};
use crate::{intake, outbox::Outbox};

const VALID: &str = r#"{"customer_id":"c-1","items":[{"product_id":"p-1","qty":2}]}"#;

/// The API over a store that is thrown away.
struct Bench {
    router: Router,
    metrics: Metrics,
    writes: Writes,
    desk: Desk,
    watch: Watch,
    shutdown: CancellationToken,
    scratch: Scratch,
}

const CLIENTS: Clients = Clients {
    wait_max: Duration::from_secs(60),
    waiters: 100,
    event_streams: 4,
    key_ttl: Duration::from_secs(24 * 3600),
    key_required: false,
};

impl Bench {
    async fn new() -> Self {
        Self::with(CLIENTS).await
    }

    async fn with(clients: Clients) -> Self {
        Self::build(clients, u64::MAX).await
    }

    /// Busy after this many orders, because the outbox takes no more.
    async fn with_room_for(orders: u64) -> Self {
        Self::build(CLIENTS, orders).await
    }

    async fn build(clients: Clients, outbox_limit: u64) -> Self {
        let (metrics, scratch) = (Metrics::default(), Scratch::default());
        let (watch, shutdown) = (Watch::default(), CancellationToken::new());
        let destinations = names(["inventory", "fulfillment"]).to_vec();
        let database = Database::Sqlite(scratch.path().to_owned());
        let Store { writes, desk, committed, backlog, .. } =
            Store::open(&database, &destinations, 1_000, &metrics).await.unwrap();
        let outbox = Arc::new(Outbox::new(&backlog, &destinations, outbox_limit));
        let component = Health::default().component("store", Kind::Required);
        tokio::spawn(intake::distribute(committed, Arc::clone(&outbox), watch.clone(), component));
        let api = Api {
            intake: Intake::new(writes.clone(), outbox, &metrics),
            desk: desk.clone(),
            watch: watch.clone(),
            wake: Wake::default(),
            begun: Begun::new(&[]),
            swept: Swept::default(),
            destinations,
            key_ttls: BTreeMap::new(),
            limits: Limits::new(clients, shutdown.clone(), &metrics),
            shutdown: shutdown.clone(),
        };
        let router = router(api, &metrics, Router::new());
        Self { router, metrics, writes, desk, watch, shutdown, scratch }
    }

    /// Records how a delivery of an order ended, after one attempt.
    async fn record(&self, order_id: OrderId, destination: &str, delivered: bool) {
        let order = self.event(order_id).await;
        let attempts =
            vec![Attempt { at: now(), duration_ms: 1, status_code: Some(200), error: None, answer: None, spent: None }];
        let outcome = Outcome { attempts, ..ended(&order, destination, delivered) };
        self.writes.record(Report { outcomes: vec![outcome], progress: Vec::new() }).await.unwrap().await.unwrap();
    }

    /// Every accepted order, as it waits to be published.
    async fn outbox(&self) -> Vec<OutboxEntry> {
        self.desk.outbox(0, 1_000).await.unwrap()
    }

    async fn event(&self, order_id: OrderId) -> OrderCreated {
        let entry = self.outbox().await.into_iter().find(|entry| entry.order_id == order_id).unwrap();
        match event::decode(&entry.body) {
            Ok(Decoded::OrderCreated(order)) => *order,
            other => panic!("{other:?}"),
        }
    }

    /// How many orders were accepted.
    async fn placed(&self) -> u64 {
        self.desk.backlog().await.unwrap().events
    }

    async fn last_placed(&self) -> OrderId {
        let page = self.desk.orders(OrderFilter::default(), None, 1).await.unwrap();
        page.orders[0].event.order_id
    }

    /// The value of a metric without labels, or with all of them.
    fn metric(&self, name: &str) -> u64 {
        let encoded = self.metrics.encode();
        let value = encoded.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is not in\n{encoded}")).parse().unwrap()
    }

    /// How many orders were looked at for clients that wait.
    fn looks(&self) -> u64 {
        self.metric("tandem_http_looks_total")
    }

    /// Waits until a metric has a value.
    async fn until(&self, name: &str, value: u64) {
        while self.metric(name) != value {
            yield_now().await;
        }
    }

    /// Waits until this many orders were accepted, and returns the last.
    async fn accepted(&self, count: u64) -> OrderId {
        self.until(r#"tandem_orders_total{result="accepted"}"#, count).await;
        self.last_placed().await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let answer = Answer { status: head.status, headers: head.headers, body };
        answer.check(&method, &path);
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Sends an order with more headers than usual.
    async fn place(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::post("/v1/orders").header("Content-Type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        self.send(request.body(body.into()).unwrap()).await
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn problem(&self) -> String {
        self.json()["type"].as_str().unwrap().trim_start_matches("/problems/").to_owned()
    }

    /// Where each fault is, and what is wrong there.
    fn faults(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        let pointer = |error: &Value| error.get("pointer").or(error.get("header")).map(text).unwrap_or_default();
        errors.iter().map(|error| (pointer(error), text(&error["detail"]))).collect()
    }

    /// What is true of every response.
    fn check(&self, method: &Method, path: &str) {
        let echo = self.header("X-Correlation-ID").expect("every response has a correlation id");
        assert!(CorrelationId::parse(echo.to_owned()).is_ok());
        assert_eq!(self.headers.get_all("X-Correlation-ID").iter().count(), 1);
        let refused = self.status.is_client_error() || self.status.is_server_error();
        if refused && method != Method::HEAD {
            assert_eq!(self.header("Content-Type"), Some("application/problem+json"));
            let problem = self.json();
            assert_eq!(problem["correlation_id"], echo);
            assert_eq!(problem["status"], self.status.as_u16());
            let kind = PROBLEM_TYPES.iter().find(|kind| kind.name == self.problem()).expect("it is in the table");
            assert_eq!((problem["title"].as_str(), self.status), (Some(kind.title), kind.status));
            assert_eq!(self.header("Retry-After"), kind.retry_after);
        }
        schema_check::check_answer(method, path, self);
    }
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, problem: &str) {
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (status, problem), "{answer:?}");
}
