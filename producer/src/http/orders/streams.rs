//! Event streams (`text/event-stream`, as browsers read them): their format, and the bound on their number.
//! Nothing is buffered for a slow client: what it has not taken is read from the store when it takes it.
//!
//! They are written by hand because one write may hold many events: all of an order, or of a page of the
//! feed. `axum::response::sse` writes one event at a time.

use std::{convert::Infallible, sync::Arc, time::Duration};

use api::OrderEvent;
use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use common::telemetry::metrics::{Gauge, Metrics};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::IntoParams;

use crate::http::edge::{
    headers::single,
    problem::{Problem, TOO_MANY_STREAMS},
};

/// How often a stream without events sends a comment.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
/// A comment: it keeps the connection alive, and no client shows it.
pub(super) const COMMENT: &str = ":\n\n";
/// What a stream starts with: how long a client that is cut off waits before it reconnects.
pub(super) const BEGIN: &str = "retry: 1000\n";
/// The media type.
const EVENT_STREAM: &str = "text/event-stream";
/// In the spelling of the documentation.
const LAST_EVENT_ID: &str = "Last-Event-ID";

static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The last event that a client received before it was cut off. An empty value is none.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header, names("Last-Event-ID"))]
pub(super) struct LastEventId(
    /// The id of the last event that the client received: the stream continues after it. In the stream of
    /// all orders, `0` starts with the oldest event.
    #[param(nullable = false)]
    pub(super) Option<String>,
);

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let value = single(&parts.headers, LAST_EVENT_ID)?;
        let text = value.map(HeaderValue::to_str).transpose().map_err(|_| not_an_id())?;
        Ok(Self(text.filter(|text| !text.is_empty()).map(str::to_owned)))
    }
}

/// Refuses an id that is not one of the stream.
pub(super) fn not_an_id() -> Problem {
    Problem::header(LAST_EVENT_ID, "must be the id of an event of this stream, unchanged")
}

/// Writes one event.
pub(super) fn write(text: &mut String, event: &str, id: &str, data: &OrderEvent) {
    match serde_json::to_string(data) {
        Ok(data) => {
            for part in ["event: ", event, "\nid: ", id, "\ndata: ", &data, "\n\n"] {
                text.push_str(part);
            }
        }
        Err(fault) => tracing::error!(order_id = %data.order_id, %fault, "an event cannot be written as JSON"),
    }
}

/// The bound on the number of streams.
#[derive(Clone, Debug)]
pub(in crate::http) struct Streams {
    permits: Arc<Semaphore>,
    open: Gauge,
}

/// Permits one stream. Dropping it lets another one open.
#[derive(Debug)]
pub(super) struct Permit {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    /// At most `permits` streams are open.
    pub(in crate::http) fn new(permits: usize, metrics: &Metrics) -> Self {
        let open = Gauge::default();
        metrics.register(|registry| {
            registry.register("http_event_streams", "Event streams that are open", open.clone());
        });
        Self { permits: Arc::new(Semaphore::new(permits)), open }
    }

    /// A permit for one more stream.
    ///
    /// # Errors
    /// As many are open as may be.
    pub(super) fn permit(&self) -> Result<Permit, Problem> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::new(&TOO_MANY_STREAMS, "the maximum number of streams is open"))?;
        self.open.inc();
        Ok(Permit { open: self.open.clone(), _permit: permit })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// The response that lasts as long as the stream does.
pub(super) fn response(stream: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(stream.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that buffers would hold events back.
    headers.insert(&X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}
