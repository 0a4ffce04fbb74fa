//! The HTTP edge: a request becomes domain types, or is refused with every reason at once.
//!
//! The one place in the producer that knows the web framework. In the order of the flow: a `call`
//! begins with its `headers`, a `query` tells which `page` of a list is wanted, the `body` is gathered, a `new_order` is read from its `json` and the
//! `faults` are noted, `place_order` hands it to intake, `place_batch` many of them, and `waiting` waits for the
//! result; `show_order` and `list_orders` show them; `order_events` and `events` tell of them as `streams`; dead letters are
//! listed, grouped, shown, archived and sent again; a `problem` is the
//! answer to everything else. `openapi` and `docs` describe all that from the same types.

mod call;
mod headers;
mod prefer;
mod body;
mod query;
mod page;
mod new_order;
mod new_batch;
mod json;
mod faults;
mod keys;
mod place_order;
mod place_batch;
mod waiting;
mod etag;
mod show_order;
mod list_orders;
mod streams;
mod order_events;
mod events;
mod dead_letter_filter;
mod list_dead_letters;
mod group_dead_letters;
mod show_dead_letter;
mod archive_dead_letter;
mod new_redrive;
mod earlier_fingerprint;
mod edited_body;
mod create_redrive;
mod redrives;
mod control_redrive;
mod reconciliation;
mod problem;
mod metrics;
mod openapi;
mod docs;

use std::{collections::BTreeMap, sync::Arc};

use api::{Delivery, Order};
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{get, post},
};
use common::{destination::Name, order::OrderId, telemetry::metrics::Metrics};
use tokio_util::sync::CancellationToken;

pub use self::create_redrive::Redriving;
use self::{
    body::BodyReader,
    call::Call,
    keys::Keys,
    metrics::HttpMetrics,
    problem::{METHOD_NOT_ALLOWED, Problem, UNKNOWN_PATH},
    streams::Streams,
    waiting::Waiting,
};
use crate::{config::Clients, reconcile::Swept};
use store::{Desk, NotAccepted, Placed, Receipt, StoreFault, Watch};

/// Where well-formed orders go.
pub trait Accept: Send + Sync + 'static {
    /// Accepts an order, and returns when it is on disk.
    ///
    /// A client that hangs up drops this future: the order is then stored or not, and a repetition
    /// under the same key tells.
    ///
    /// # Errors
    /// [`NotAccepted`]: nothing was stored.
    fn accept(&self, placed: Placed) -> impl Future<Output = Result<Receipt, NotAccepted>> + Send;

    /// Accepts orders together; each has its own answer, in the same order.
    fn accept_all(&self, placed: Vec<Placed>) -> impl Future<Output = Vec<Result<Receipt, NotAccepted>>> + Send;
}

/// Where orders are looked up.
pub trait Show: Send + Sync + 'static {
    /// The order with this id, as it is now.
    ///
    /// # Errors
    /// [`StoreFault`]: it cannot be told whether there is one.
    fn order(&self, order_id: OrderId) -> impl Future<Output = Result<Option<Order>, StoreFault>> + Send;
}

/// What the handlers share.
struct Api<A, S> {
    intake: A,
    orders: S,
    /// Lists, dead letters and redrives.
    desk: Arc<dyn Desk>,
    /// News of orders.
    watch: Watch,
    redriving: Redriving,
    destinations: Vec<Name>,
    swept: Swept,
    bodies: BodyReader,
    batches: BodyReader,
    keys: Keys,
    waiting: Waiting,
    streams: Streams,
    /// Ends whoever waits and every stream.
    shutdown: CancellationToken,
    /// The deliveries of an order that was accepted just now.
    pending: BTreeMap<String, Delivery>,
    metrics: HttpMetrics,
}

/// What the API stands on.
pub struct Parts<A, S> {
    /// Where well-formed orders go.
    pub intake: A,
    /// Where orders are looked up.
    pub orders: S,
    /// Lists, dead letters and redrives.
    pub desk: Arc<dyn Desk>,
    /// News of orders.
    pub watch: Watch,
    /// What creating redrives needs.
    pub redriving: Redriving,
    /// What the last sweep for overdue deliveries found.
    pub swept: Swept,
    /// Who is told of every order.
    pub destinations: Vec<Name>,
    /// What clients may have.
    pub clients: Clients,
    /// Ends whoever waits and every stream.
    pub shutdown: CancellationToken,
}

/// Every route of the API. Whatever is no route is answered with a problem too.
///
/// `operations` are the routes that every process has; here they share the answers for what is unknown.
pub fn router<A: Accept, S: Show>(parts: Parts<A, S>, metrics: &Metrics, operations: Router) -> Router {
    let Parts { intake, orders, desk, watch, redriving, swept, destinations, clients, shutdown } = parts;
    let api = Arc::new(Api {
        intake,
        orders,
        desk,
        watch,
        redriving,
        swept,
        bodies: BodyReader::new(),
        batches: BodyReader::of_batches(),
        keys: Keys { ttl: clients.key_ttl, required: clients.key_required },
        waiting: Waiting::new(clients.wait_max, clients.waiters, shutdown.clone(), metrics),
        streams: Streams::new(clients.event_streams, metrics),
        shutdown,
        pending: destinations.iter().map(|name| (name.to_string(), Delivery::pending())).collect(),
        destinations,
        metrics: HttpMetrics::register(metrics),
    });
    Router::new()
        .route("/v1/orders", post(place_order::place_order::<A, S>).get(list_orders::list_orders::<A, S>))
        .route("/v1/orders:batch", post(place_batch::place_batch::<A, S>))
        .route("/v1/orders/{order_id}/events", get(order_events::order_events::<A, S>))
        .route("/v1/events", get(events::events::<A, S>))
        .route("/v1/orders/{order_id}", get(show_order::show_order::<A, S>))
        .route("/v1/dead-letters", get(list_dead_letters::list_dead_letters::<A, S>))
        .route("/v1/dead-letters:groups", get(group_dead_letters::group_dead_letters::<A, S>))
        .route("/v1/dead-letters/{id}", get(show_dead_letter::show_dead_letter::<A, S>))
        .route("/v1/dead-letters/{id}/archive", post(archive_dead_letter::archive_dead_letter::<A, S>))
        .route("/v1/dead-letters/{id}/unarchive", post(archive_dead_letter::unarchive_dead_letter::<A, S>))
        .route("/v1/redrives", post(create_redrive::create::<A, S>).get(redrives::list::<A, S>))
        .route("/v1/redrives/{redrive_id}", get(redrives::show::<A, S>))
        .route("/v1/redrives/{redrive_id}/pause", post(control_redrive::pause::<A, S>))
        .route("/v1/redrives/{redrive_id}/resume", post(control_redrive::resume::<A, S>))
        .route("/v1/redrives/{redrive_id}/cancel", post(control_redrive::cancel::<A, S>))
        .route("/v1/reconciliation", get(reconciliation::reconciliation::<A, S>))
        .route("/problems/{name}", get(docs::problem_page::<A, S>))
        .route("/openapi.json", get(docs::openapi_json::<A, S>))
        .route("/docs", get(docs::to_page::<A, S>))
        .route("/docs/", get(docs::file::<A, S>))
        .route("/docs/{*file}", get(docs::file::<A, S>))
        .merge(operations.with_state(()))
        .fallback(unknown_path::<A, S>)
        .method_not_allowed_fallback(method_not_allowed::<A, S>)
        .with_state(api)
}

async fn unknown_path<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, _) = Call::begin(request.headers(), &api.metrics.other);
    call.end(Err(Problem::new(&UNKNOWN_PATH, "nothing is at this path")))
}

/// The framework adds `Allow`.
async fn method_not_allowed<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, _) = Call::begin(request.headers(), &api.metrics.other);
    call.end(Err(Problem::new(&METHOD_NOT_ALLOWED, "the header Allow names the methods of this path")))
}

#[cfg(test)]
mod tests;
