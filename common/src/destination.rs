//! The destination: what one downstream API needs to say of itself.

mod name;

use reqwest::{RequestBuilder, StatusCode, header::HeaderName};
use uuid::Uuid;

pub use name::{Name, NotAName};

use crate::{
    config::{Faults, Setting, Settings},
    event::OrderCreated,
    http_client::HttpClient,
    trace_context::TraceParent,
};

/// One downstream API. A worker is this trait for one API; everything else is in this crate.
pub trait Destination: Sized + Send + Sync + 'static {
    /// Its name in queues, keys, metrics and the API: lower-case letters, digits and dashes.
    const NAME: &'static str;
    /// The binary's name, which is its crate's.
    const BINARY: &'static str;
    /// Settings of its own, beside those of every worker.
    const SETTINGS: &'static [Setting];
    /// The defaults in which destinations differ.
    const DEFAULTS: Defaults;

    /// Its own settings, read.
    type Config: Send;

    /// Reads [`Destination::SETTINGS`].
    ///
    /// # Errors
    /// The faults, which `settings` remembers too: read every setting before the first `?`.
    fn configure(settings: &mut Settings) -> Result<Self::Config, Faults>;

    /// The destination, ready to call.
    fn new(config: Self::Config, client: HttpClient) -> Self;

    /// The address of the API, which decides about TLS.
    fn url(config: &Self::Config) -> &reqwest::Url;

    /// Tells the API of one order, once. Called again for each attempt, by nobody else, with a
    /// deadline around it.
    ///
    /// Dropped when the process must end: the API may have acted then, and is told again later
    /// under the same key.
    fn attempt(
        &self,
        order: &OrderCreated,
        call: &Call,
    ) -> impl Future<Output = Result<StatusCode, AttemptError>> + Send;
}

/// The defaults in which destinations differ.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `HTTP_ADDR`.
    pub http_addr: &'static str,
    /// `MAX_ATTEMPTS`.
    pub max_attempts: &'static str,
    /// `REQUEST_TIMEOUT`.
    pub request_timeout: &'static str,
}

/// Names of headers, parsed once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What every call carries, whatever the API.
#[derive(Clone, Debug)]
pub struct Call {
    /// The same for every attempt of a delivery, for ever.
    pub idempotency_key: Uuid,
    /// The trace, with a new caller for each attempt.
    pub trace: TraceParent,
}

impl Call {
    /// Puts the headers that every call carries on a request.
    pub fn headers(&self, order: &OrderCreated, request: RequestBuilder) -> RequestBuilder {
        let mut key = Uuid::encode_buffer();
        request
            .header(IDEMPOTENCY_KEY, &*self.idempotency_key.hyphenated().encode_lower(&mut key))
            .header(CORRELATION_ID, order.correlation_id.as_str())
            .header(TRACEPARENT, self.trace.to_string())
    }
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptError {
    /// It may succeed later: the API is busy or ill, or nobody answered.
    Transient {
        /// The status, where there was an answer.
        status: Option<u16>,
        /// What went wrong, where there was none.
        error: Option<String>,
        /// How long the API asks to be left alone.
        retry_after: Option<std::time::Duration>,
    },
    /// No repetition will change it.
    Permanent {
        /// The status, where there was an answer.
        status: Option<u16>,
        /// What went wrong, where there was none.
        error: Option<String>,
    },
}
