//! Calling a downstream API: one client per process, with a deadline on every call and a limit on every
//! response.

use std::time::{Duration, SystemTime};

use reqwest::{
    Client, ClientBuilder, RequestBuilder, StatusCode, Url,
    header::{HeaderMap, RETRY_AFTER},
    redirect,
};
use tokio::time::timeout;

use crate::tls;

/// How long opening a TCP and TLS connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle connections are closed before most servers close them (60 s and more), so that a call does not
/// use a connection that is just being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the body of a response is read once its status is known. A body that stalls must not make an
/// accepted order look unanswered.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_millis(500);
/// How much of a body is read. It is read only so that the connection can be reused; beyond this size a
/// new connection is cheaper.
const MAX_BODY_BYTES: usize = 64 * 1_024;

/// A client for one downstream API.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client,
    deadline: Duration,
}

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot build an HTTP client: {0}")]
pub struct ClientError(String);

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptError {
    /// It may succeed later: the API is busy or failing, or did not respond.
    Transient {
        /// The status code of the response, if there was one.
        status: Option<u16>,
        /// What went wrong, if there was no response.
        error: Option<String>,
        /// How long the API asks the worker to wait.
        retry_after: Option<Duration>,
    },
    /// Retrying will not change it.
    Permanent {
        /// The status code of the response, if there was one.
        status: Option<u16>,
        /// What went wrong, if there was no response.
        error: Option<String>,
    },
}

impl HttpClient {
    /// A client for the API at `url` that keeps up to `connections` idle connections. A call may take
    /// `deadline`, from the resolution of the name to the status of the response.
    ///
    /// # Errors
    /// No trusted certificates for `https`.
    pub fn new(url: &Url, connections: usize, deadline: Duration) -> Result<Self, ClientError> {
        let failed = |fault: &dyn std::fmt::Display| ClientError(fault.to_string());
        let mut builder = Client::builder()
            .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(connections)
            // A redirect turns a POST into a GET, or carries credentials to another host.
            .redirect(redirect::Policy::none())
            .referer(false)
            // The worker counts every attempt.
            .retry(reqwest::retry::never())
            .no_proxy();
        builder = with_tls_for(url, builder)?;
        builder.build().map(|client| Self { client, deadline }).map_err(|fault| failed(&fault))
    }

    /// A POST request, to be completed and passed to [`HttpClient::send`].
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }

    /// Makes the call and classifies the response.
    ///
    /// Not cancellation safe: if it is dropped, the API may have acted.
    ///
    /// # Errors
    /// [`AttemptError`], by the status or by what failed.
    pub async fn send(&self, request: RequestBuilder) -> Result<StatusCode, AttemptError> {
        let mut response = match timeout(self.deadline, request.send()).await {
            Ok(response) => response.map_err(|fault| unanswered(&fault))?,
            Err(_) => return Err(no_answer_within(self.deadline)),
        };
        let status = response.status();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let mut read = 0;
        // The status decides; a body that is cut off or stalls changes nothing.
        let body = async {
            while let (true, Ok(Some(chunk))) = (read <= MAX_BODY_BYTES, response.chunk().await) {
                read += chunk.len();
            }
        };
        let _ = timeout(BODY_TIMEOUT, body).await;
        classify(status, retry_after)
    }
}

/// Makes the client use TLS, and nothing else, if the URL asks for it.
///
/// # Errors
/// No trusted certificates for `https`.
pub fn with_tls_for(url: &Url, builder: ClientBuilder) -> Result<ClientBuilder, ClientError> {
    if url.scheme() == "https" {
        let config = tls::trusting_the_system().map_err(|fault| ClientError(fault.to_string()))?;
        Ok(builder.tls_backend_preconfigured(config).https_only(true))
    } else {
        without_tls(builder).map_err(|fault| ClientError(fault.to_string()))
    }
}

/// A client for plain `http`, which saves the time and memory of loading the system's certificates.
pub(crate) fn without_tls(builder: ClientBuilder) -> Result<ClientBuilder, rustls::Error> {
    Ok(builder.tls_backend_preconfigured(tls::trusting(rustls::RootCertStore::empty())?))
}

/// The address of `path` below the base address of an API, which may have a path too. `path` is nothing
/// but a path: a question mark in it is escaped.
#[must_use]
pub fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    // The configuration accepts only http and https, which always have segments.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

/// What a status means for the attempt.
///
/// # Errors
/// Every status except 2xx: transient if it may be temporary, permanent otherwise, as for redirects.
pub fn classify(status: StatusCode, retry_after: Option<Duration>) -> Result<StatusCode, AttemptError> {
    if status.is_success() {
        return Ok(status);
    }
    let may_pass = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if may_pass {
        Err(AttemptError::Transient { status: Some(status.as_u16()), error: None, retry_after })
    } else {
        Err(AttemptError::Permanent { status: Some(status.as_u16()), error: None })
    }
}

/// A call without a response may have had its effect, so it is not known to have failed: transient.
fn unanswered(fault: &reqwest::Error) -> AttemptError {
    if fault.is_builder() {
        let error = Some(format!("the request cannot be built: {}", innermost(fault)));
        return AttemptError::Permanent { status: None, error };
    }
    let error = if fault.is_connect() {
        format!("connection failed: {}", innermost(fault))
    } else {
        format!("connection broke: {}", innermost(fault))
    };
    AttemptError::Transient { status: None, error: Some(error), retry_after: None }
}

/// The error of a call that took too long: the API may have acted.
pub(crate) fn no_answer_within(deadline: Duration) -> AttemptError {
    let error = Some(format!("no answer within {deadline:?}"));
    AttemptError::Transient { status: None, error, retry_after: None }
}

/// The innermost cause, which is what a person needs and which never contains the URL.
fn innermost(fault: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = fault;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().chars().take(200).collect()
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds or an HTTP date. An invalid value counts as absent.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn only_2xx_is_a_success_and_only_some_failures_are_transient() {
        for code in 100..=599_u16 {
            let Ok(status) = StatusCode::from_u16(code) else { continue };
            let expected = match code {
                200..=299 => "ok",
                408 | 425 | 429 | 500..=599 => "transient",
                _ => "permanent",
            };
            let found = match classify(status, None) {
                Ok(_) => "ok",
                Err(AttemptError::Transient { .. }) => "transient",
                Err(AttemptError::Permanent { .. }) => "permanent",
            };
            assert_eq!(found, expected, "{code}");
        }
    }

    #[test]
    fn an_api_may_be_below_a_path() {
        for (base, expected) in [
            ("http://host", "http://host/api/x"),
            ("http://host/", "http://host/api/x"),
            ("http://host/v2", "http://host/v2/api/x"),
            ("http://host/v2/", "http://host/v2/api/x"),
        ] {
            let base: Url = base.parse().unwrap();
            assert_eq!(below(&base, "api/x").as_str(), expected);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_anything_else_is_ignored() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 12:00:00 GMT").unwrap_or(SystemTime::UNIX_EPOCH);
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Mon, 23 Nov 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        for ignored in ["-1", "soon", "", "1.5", "99999999999999999999", "Mon, 23 Nov 2026 11:00:00 GMT"] {
            assert_eq!(read(ignored), None, "{ignored}");
        }
    }
}
