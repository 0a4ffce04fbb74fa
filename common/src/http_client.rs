//! Calling a downstream API: one client per process, a deadline on every call, a cap on every answer.

use std::time::{Duration, SystemTime};

use reqwest::{
    Client, ClientBuilder, RequestBuilder, StatusCode, Url,
    header::{HeaderMap, RETRY_AFTER},
    redirect,
};
use tokio::time::timeout;

use crate::{destination::AttemptError, tls};

/// How long a TCP and TLS connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle connections are dropped before a usual server drops them (60 s and more), so that a call
/// does not meet a connection that is just being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer's body is read, once its status is known. A body that stalls must not make an
/// order that was accepted look unanswered.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_millis(500);
/// How much of an answer is read. Nothing in it is used; it is read so that the connection can be
/// used again, and beyond this a new connection is cheaper.
const MAX_ANSWER_BYTES: usize = 64 * 1_024;

/// A client for one downstream API.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client,
    answer_within: Duration,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an HTTP client: {0}")]
pub struct ClientError(String);

impl HttpClient {
    /// A client for the API at `url` that keeps up to `connections` idle connections and gives a call
    /// `answer_within`, from the look-up of the name to the status of the answer.
    ///
    /// # Errors
    /// No trusted certificates for `https`.
    pub fn new(url: &Url, connections: usize, answer_within: Duration) -> Result<Self, ClientError> {
        let failed = |fault: &dyn std::fmt::Display| ClientError(fault.to_string());
        let mut builder = Client::builder()
            .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(connections)
            // A redirect turns a POST into a GET, or carries credentials to another host.
            .redirect(redirect::Policy::none())
            .referer(false)
            // Every attempt is ours to count.
            .retry(reqwest::retry::never())
            .no_proxy();
        builder = with_tls_for(url, builder)?;
        builder.build().map(|client| Self { client, answer_within }).map_err(|fault| failed(&fault))
    }

    /// A POST to be filled in and handed to [`HttpClient::send`].
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }

    /// Makes the call and tells what its answer means.
    ///
    /// Not cancellation safe: when dropped, the API may have acted.
    ///
    /// # Errors
    /// [`AttemptError`], by status or by what broke.
    pub async fn send(&self, request: RequestBuilder) -> Result<StatusCode, AttemptError> {
        let mut answer = match timeout(self.answer_within, request.send()).await {
            Ok(answer) => answer.map_err(|fault| unanswered(&fault))?,
            Err(_) => return Err(no_answer_within(self.answer_within)),
        };
        let status = answer.status();
        let retry_after = retry_after(answer.headers(), SystemTime::now());
        let mut read = 0;
        // The status is the answer; a body that breaks off or stalls changes nothing about it.
        let body = async {
            while let (true, Ok(Some(chunk))) = (read <= MAX_ANSWER_BYTES, answer.chunk().await) {
                read += chunk.len();
            }
        };
        let _ = timeout(BODY_TIMEOUT, body).await;
        classify(status, retry_after)
    }
}

/// Makes the client speak TLS where the URL asks for it, and nothing but TLS then.
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

/// A client for plain `http`: loading the system's certificates costs time and memory that it has
/// no use for.
pub(crate) fn without_tls(builder: ClientBuilder) -> Result<ClientBuilder, rustls::Error> {
    Ok(builder.tls_backend_preconfigured(tls::trusting(rustls::RootCertStore::empty())?))
}

/// The address of `path` below the base address of an API, which may have a path of its own. A
/// path is all that `path` can be: a question mark in it is escaped.
#[must_use]
pub fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    // Only http and https get past the configuration, and those always have segments.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

/// What a status means.
///
/// # Errors
/// Every status but 2xx: transient for those that may pass, permanent for all others, redirects
/// among them.
pub fn classify(status: StatusCode, retry_after: Option<Duration>) -> Result<StatusCode, AttemptError> {
    if status.is_success() {
        return Ok(status);
    }
    let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if passing {
        Err(AttemptError::Transient { status: Some(status.as_u16()), error: None, retry_after })
    } else {
        Err(AttemptError::Permanent { status: Some(status.as_u16()), error: None })
    }
}

/// A call without an answer may have had its effect, so it is never given up for certain: transient.
fn unanswered(fault: &reqwest::Error) -> AttemptError {
    if fault.is_builder() {
        let error = Some(format!("the request cannot be made: {}", innermost(fault)));
        return AttemptError::Permanent { status: None, error };
    }
    let error = if fault.is_connect() {
        format!("connection failed: {}", innermost(fault))
    } else {
        format!("connection broke: {}", innermost(fault))
    };
    AttemptError::Transient { status: None, error: Some(error), retry_after: None }
}

/// The failure of a call that took too long: the API may have acted.
pub(crate) fn no_answer_within(deadline: Duration) -> AttemptError {
    let error = Some(format!("no answer within {deadline:?}"));
    AttemptError::Transient { status: None, error, retry_after: None }
}

/// The cause at the bottom, which is what a person needs, and which never holds the URL.
fn innermost(fault: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = fault;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().chars().take(200).collect()
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds or an HTTP date. Garbage counts as absent.
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
    fn only_a_2xx_is_success_and_only_some_failures_may_pass() {
        for code in 100..=599_u16 {
            let Ok(status) = StatusCode::from_u16(code) else { continue };
            let wanted = match code {
                200..=299 => "ok",
                408 | 425 | 429 | 500..=599 => "transient",
                _ => "permanent",
            };
            let found = match classify(status, None) {
                Ok(_) => "ok",
                Err(AttemptError::Transient { .. }) => "transient",
                Err(AttemptError::Permanent { .. }) => "permanent",
            };
            assert_eq!(found, wanted, "{code}");
        }
    }

    #[test]
    fn an_api_may_live_below_a_path() {
        for (base, wanted) in [
            ("http://host", "http://host/api/x"),
            ("http://host/", "http://host/api/x"),
            ("http://host/v2", "http://host/v2/api/x"),
            ("http://host/v2/", "http://host/v2/api/x"),
        ] {
            let base: Url = base.parse().unwrap();
            assert_eq!(below(&base, "api/x").as_str(), wanted);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_garbage_is_ignored() {
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
