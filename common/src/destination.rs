//! The destination: everything that is specific to one downstream API.

mod name;

use reqwest::{RequestBuilder, StatusCode, header::HeaderName};
use uuid::Uuid;

pub use name::{Name, NotAName};

use crate::{
    config::{Faults, Setting, Settings},
    event::OrderCreated,
    http_client::{AttemptError, HttpClient},
    trace_context::TraceParent,
};

/// One downstream API. A worker implements this trait for its API; everything else is in this crate.
pub trait Destination: Sized + Send + Sync + 'static {
    /// Its name in queues, keys, metrics and the HTTP API: lower-case letters, digits and dashes.
    const NAME: &'static str;
    /// The name of the binary, which is that of its crate.
    const BINARY: &'static str;
    /// Its own settings, in addition to those of every worker.
    const SETTINGS: &'static [Setting];
    /// The defaults that differ between destinations.
    const DEFAULTS: Defaults;

    /// Its own configuration.
    type Config: Send;

    /// Reads [`Destination::SETTINGS`].
    ///
    /// # Errors
    /// The faults, which `settings` also collects: read every setting before the first `?`.
    fn configure(settings: &mut Settings) -> Result<Self::Config, Faults>;

    /// The destination, ready to call.
    fn new(config: Self::Config, client: HttpClient) -> Self;

    /// The address of the API, which decides whether TLS is used.
    fn url(config: &Self::Config) -> &reqwest::Url;

    /// Calls the API once for one order. The worker calls this once for each attempt, with a deadline.
    ///
    /// If the process must end, the future is dropped. The API may have acted by then, and is called again
    /// later under the same key.
    fn attempt(
        &self,
        order: &OrderCreated,
        call: &Call,
    ) -> impl Future<Output = Result<StatusCode, AttemptError>> + Send;
}

/// The defaults that differ between destinations.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `HTTP_ADDR`.
    pub http_addr: &'static str,
    /// `MAX_ATTEMPTS`.
    pub max_attempts: &'static str,
    /// `REQUEST_TIMEOUT`.
    pub request_timeout: &'static str,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What every call carries, whatever the API.
#[derive(Clone, Debug)]
pub struct Call {
    /// The same for every attempt, redelivery and redrive of a delivery.
    pub idempotency_key: Uuid,
    /// The trace context, with a new parent id for each attempt.
    pub trace: TraceParent,
}

impl Call {
    /// Adds the headers that every call carries.
    pub fn headers(&self, order: &OrderCreated, request: RequestBuilder) -> RequestBuilder {
        let mut key = Uuid::encode_buffer();
        request
            .header(IDEMPOTENCY_KEY, &*self.idempotency_key.hyphenated().encode_lower(&mut key))
            .header(CORRELATION_ID, order.correlation_id.as_str())
            .header(TRACEPARENT, self.trace.to_string())
    }
}
