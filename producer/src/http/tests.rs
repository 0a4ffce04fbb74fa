//! The API as a client sees it, through the router, over an intake and orders in memory. Every
//! answer is held against the published document on the way.

mod batches;
mod bodies;
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

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use bytes::Bytes;
use common::order::CorrelationId;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use common::status::fold;
use store::{
    Idempotency,
    testing::{Scratch, names},
};

const SOUND: &str = r#"{"customer_id":"c-1","items":[{"product_id":"p-1","qty":2}]}"#;

/// An intake and its orders, in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    placed: Vec<Placed>,
    keys: HashMap<String, (Idempotency, Receipt)>,
    deliveries: HashMap<OrderId, BTreeMap<String, Delivery>>,
    looks: usize,
    refusal: Option<NotAccepted>,
    fault: Option<StoreFault>,
}

impl Accept for Memory {
    async fn accept(&self, placed: Placed) -> Result<Receipt, NotAccepted> {
        let mut stored = self.0.lock().unwrap();
        if let Some(refusal) = stored.refusal.clone() {
            return Err(refusal);
        }
        let (order_id, correlation_id) = (placed.order_id, placed.correlation_id.clone());
        let receipt = Receipt { order_id, correlation_id, replayed: false };
        if let Some(idempotency) = placed.idempotency.clone() {
            if let Some((known, receipt)) = stored.keys.get(&idempotency.key) {
                let replay = Receipt { replayed: true, ..receipt.clone() };
                return if known.fingerprint == idempotency.fingerprint {
                    Ok(replay)
                } else {
                    Err(NotAccepted::KeyReused)
                };
            }
            stored.keys.insert(idempotency.key.clone(), (idempotency, receipt.clone()));
        }
        stored.placed.push(placed);
        Ok(receipt)
    }

    async fn accept_all(&self, placed: Vec<Placed>) -> Vec<Result<Receipt, NotAccepted>> {
        let mut answers = Vec::new();
        for placed in placed {
            answers.push(self.accept(placed).await);
        }
        answers
    }
}

impl Show for Memory {
    async fn order(&self, order_id: OrderId) -> Result<Option<Order>, StoreFault> {
        let mut stored = self.0.lock().unwrap();
        stored.looks += 1;
        if let Some(fault) = stored.fault.clone() {
            return Err(fault);
        }
        let pending = || [("inventory".to_owned(), Delivery::pending())].into();
        let deliveries = stored.deliveries.get(&order_id).cloned().unwrap_or_else(pending);
        let found = stored.placed.iter().find(|placed| placed.order_id == order_id);
        Ok(found.map(Placed::event).map(|event| Order {
            order_id: order_id.to_string(),
            correlation_id: event.correlation_id.to_string(),
            customer_id: event.customer_id.to_string(),
            items: crate::views::order::items(&event.items),
            status: fold(deliveries.values().filter_map(|delivery| delivery.status.known())).into(),
            created_at: event.occurred_at,
            deliveries,
        }))
    }
}

/// The API over its memory.
struct Bench {
    router: Router,
    memory: Memory,
    metrics: Metrics,
    /// What the router's own is over, too.
    desk: Arc<dyn Desk>,
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
    fn new() -> Self {
        Self::with(CLIENTS)
    }

    fn with(clients: Clients) -> Self {
        let (memory, metrics, scratch) = (Memory::default(), Metrics::default(), Scratch::default());
        let desk = scratch.desk();
        let destinations = names(["inventory", "fulfillment"]).to_vec();
        let (watch, shutdown) = (Watch::default(), CancellationToken::new());
        let parts = Parts {
            intake: memory.clone(),
            orders: memory.clone(),
            desk: Arc::clone(&desk),
            watch: watch.clone(),
            redriving: Redriving::default(),
            swept: Swept::default(),
            destinations,
            clients,
            shutdown: shutdown.clone(),
        };
        let router = router(parts, &metrics, Router::new());
        Self { router, memory, metrics, desk, watch, shutdown, scratch }
    }

    /// The order is as wanted, and whoever waits for it hears of it.
    fn record(&self, order_id: OrderId, deliveries: BTreeMap<String, Delivery>) {
        self.memory.0.lock().unwrap().deliveries.insert(order_id, deliveries);
        self.watch.changed(&[order_id]);
    }

    fn looks(&self) -> usize {
        self.memory.0.lock().unwrap().looks
    }

    fn last_placed(&self) -> Option<OrderId> {
        self.memory.0.lock().unwrap().placed.last().map(|placed| placed.order_id)
    }

    fn placed(&self) -> usize {
        self.memory.0.lock().unwrap().placed.len()
    }

    fn refuse(&self, refusal: NotAccepted) {
        self.memory.0.lock().unwrap().refusal = Some(refusal);
    }

    fn fail(&self, fault: StoreFault) {
        self.memory.0.lock().unwrap().fault = Some(fault);
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

    /// Sends an order with more headers than the usual one.
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

    /// Place and words of each fault.
    fn faults(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        let place = |error: &Value| error.get("pointer").or(error.get("header")).map(text).unwrap_or_default();
        errors.iter().map(|error| (place(error), text(&error["detail"]))).collect()
    }

    /// What holds for every answer.
    fn check(&self, method: &Method, path: &str) {
        let echo = self.header("X-Correlation-ID").expect("every answer bears a correlation id");
        assert!(CorrelationId::parse(echo.to_owned()).is_ok());
        assert_eq!(self.headers.get_all("X-Correlation-ID").iter().count(), 1);
        let refused = self.status.is_client_error() || self.status.is_server_error();
        if refused && method != Method::HEAD {
            assert_eq!(self.header("Content-Type"), Some("application/problem+json"));
            let problem = self.json();
            assert_eq!(problem["correlation_id"], echo);
            assert_eq!(problem["status"], self.status.as_u16());
            let kind = problem::KINDS.iter().find(|kind| kind.name == self.problem()).expect("it is in the table");
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
