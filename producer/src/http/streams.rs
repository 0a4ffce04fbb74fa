//! Streams of events (text/event-stream, as browsers read them): their form, and the bound on their
//! number. Nothing is buffered for a slow client: what it has not taken is read from the store when
//! it takes it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use api::OrderEvent;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use common::telemetry::metrics::{Gauge, Metrics};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Problem, TOO_MANY_STREAMS};

/// How often a stream without news says that it is there.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
/// A comment: it keeps the connection, and no client sees it.
pub(super) const COMMENT: &str = ":\n\n";
/// What a stream begins with: how long a client that is cut off waits before it comes again.
pub(super) const BEGIN: &str = "retry: 1000\n";
/// The media type.
pub(super) const EVENT_STREAM: &str = "text/event-stream";
/// In the spelling of the documentation.
pub(super) const LAST_EVENT_ID: &str = "Last-Event-ID";

static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

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

/// Which event the client has seen last, as it says after it was cut off. An empty value is none.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::header(LAST_EVENT_ID, "must be given once"));
    }
    let text = first.map(HeaderValue::to_str).transpose();
    Ok(text.map_err(|_| not_an_id())?.filter(|text| !text.is_empty()))
}

pub(super) fn not_an_id() -> Problem {
    Problem::header(LAST_EVENT_ID, "must be the id of an event of this stream, as it was sent")
}

/// The bound on the number of streams.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    open: Gauge,
}

/// A place among the streams. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    pub(super) fn new(places: usize, metrics: &Metrics) -> Self {
        let open = Gauge::default();
        metrics.register(|registry| {
            registry.register("http_event_streams", "Streams of events that are open", open.clone());
        });
        Self { places: Arc::new(Semaphore::new(places)), open }
    }

    pub(super) fn place(&self) -> Result<Place, Problem> {
        let permit = Arc::clone(&self.places).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::new(&TOO_MANY_STREAMS, "as many streams are open as may be"))?;
        self.open.inc();
        Ok(Place { open: self.open.clone(), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// The answer that goes on as long as the stream does.
pub(super) fn answer(stream: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(stream.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that buffers would keep events back.
    headers.insert(&X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}
