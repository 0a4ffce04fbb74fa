//! The HTTP edge: a request becomes domain types, or is refused with every reason at once.
//!
//! The one place in the producer that knows the web framework. Each resource has a folder with a file for
//! each of its operations; [`edge`] is what they share, and [`documents`] describes them. A route is listed
//! once, in its resource: paths, the OpenAPI document and the labels of metrics come from there.
//!
//! Around every route but the operational ones is the [`Frame`]. Further in a request has a correlation id and
//! may be refused with a [`Problem`]; so what decides whether it reaches its handler (who calls, how often)
//! belongs inside the frame.

mod edge;
mod orders;
mod dead_letters;
mod redrives;
mod reconciliation;
mod documents;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Router, handler::Handler as _};
use common::{destination::Name, telemetry::metrics::Metrics};
use store::Desk;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use self::{
    edge::{
        Frame,
        body::BodyReader,
        correlation,
        metrics::HttpMetrics,
        problem::{METHOD_NOT_ALLOWED, Problem, UNKNOWN_PATH},
    },
    orders::{Streams, Waiting},
};
use crate::{config::Clients, intake::Intake, reconcile::Swept, redrive::Wake, waker::Begun, watch::Watch};

/// What the handlers work with.
pub(crate) struct Api {
    /// Where valid orders go.
    pub intake: Intake,
    /// Where orders, lists, dead letters and redrives are read and changed.
    pub desk: Desk,
    /// Notifies of changes of orders.
    pub watch: Watch,
    /// Notifies the runner of redrives.
    pub wake: Wake,
    /// Notifies wakers of waits.
    pub begun: Begun,
    /// What the last sweep for overdue deliveries found.
    pub swept: Swept,
    /// Every destination that an accepted order is delivered to.
    pub destinations: Vec<Name>,
    /// How long each destination remembers a key; indefinitely if it is not listed.
    pub key_ttls: BTreeMap<Name, Duration>,
    /// What clients may use.
    pub limits: Limits,
    /// Ends every wait and every stream.
    pub shutdown: CancellationToken,
}

/// What clients may use, and what they must send.
pub(crate) struct Limits {
    bodies: BodyReader,
    batches: BodyReader,
    waiting: Waiting,
    streams: Streams,
    /// How long an idempotency key is known.
    key_ttl: Duration,
    /// Whether an order without a key is refused.
    key_required: bool,
}

impl Limits {
    /// As configured; `shutdown` ends every wait.
    #[must_use]
    pub(crate) fn new(clients: Clients, shutdown: CancellationToken, metrics: &Metrics) -> Self {
        let Clients { wait_max, waiters, event_streams, key_ttl, key_required } = clients;
        Self {
            bodies: BodyReader::new(),
            batches: BodyReader::for_batches(),
            waiting: Waiting::new(wait_max, waiters, shutdown, metrics),
            streams: Streams::new(event_streams, metrics),
            key_ttl,
            key_required,
        }
    }
}

/// Every route. An unknown path or method gets a problem, too.
///
/// `operations` are the routes that every process has. They are probed all the time, so they are neither
/// counted nor correlated.
pub(crate) fn router(api: Api, metrics: &Metrics, operations: Router) -> Router {
    let (resources, document) = resources().split_for_parts();
    let frame = Frame(Arc::new(HttpMetrics::register(metrics, &document)));
    resources
        .merge(documents::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(frame.clone())
        .with_state(Arc::new(api))
        .merge(operations.method_not_allowed_fallback(method_not_allowed.layer(frame)))
}

/// Every resource, with its document.
fn resources() -> OpenApiRouter<Arc<Api>> {
    let mut resources = OpenApiRouter::with_openapi(documents::Head::openapi())
        .merge(orders::routes())
        .merge(dead_letters::routes())
        .merge(redrives::routes())
        .merge(reconciliation::routes());
    correlation::describe(resources.get_openapi_mut());
    resources
}

async fn unknown_path() -> Problem {
    Problem::new(&UNKNOWN_PATH, "there is nothing at this path")
}

/// The framework adds `Allow`.
async fn method_not_allowed() -> Problem {
    Problem::new(&METHOD_NOT_ALLOWED, "the header Allow lists the methods of this path")
}

#[cfg(test)]
mod tests;
