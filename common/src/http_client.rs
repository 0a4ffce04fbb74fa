//! Calling a downstream API: one client per process, with a deadline on every call and a limit on every
//! response.

mod connection;
mod excerpt;

use std::time::{Duration, SystemTime};

use reqwest::{
    Client, ClientBuilder, RequestBuilder, StatusCode, Url,
    header::{HeaderMap, RETRY_AFTER},
    redirect,
};
use tokio::time::timeout;

pub(crate) use self::connection::fresh;
use self::{connection::Watched, excerpt::Excerpt};
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
    /// Makes a connection for each request.
    fresh: Client,
    deadline: Duration,
    /// Whether the beginning of an error's body is kept.
    excerpts: bool,
}

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot build an HTTP client: {0}")]
pub struct ClientError(String);

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptError {
    /// What the failure means.
    pub failure: Failure,
    /// The status code of the response, if there was one.
    pub status: Option<u16>,
    /// What went wrong, if there was no response.
    pub error: Option<String>,
    /// How long the API asks the worker to wait.
    pub retry_after: Option<Duration>,
    /// The beginning of the body of the response, if it is text.
    pub answer: Option<String>,
}

/// What a failed attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The API never got the request.
    Unreached,
    /// No response. The API may have acted, and may still be working on it.
    Unanswered,
    /// No response, because a connection broke that had been used before. The API has probably closed it just
    /// then, because it was idle.
    Stale,
    /// The API failed: 408 or 5xx.
    Failed,
    /// The API asks to be left alone: 429, or 503 with `Retry-After`.
    Throttled,
    /// An earlier request under the same key may still be in progress: 409 or 425.
    InProgress,
    /// The API refuses the credential: 401 or 403.
    Unauthorized,
    /// The API refuses this order: every other status, redirects included.
    Rejected,
}

impl AttemptError {
    /// An attempt without a response.
    #[must_use]
    pub fn without_response(failure: Failure, error: String) -> Self {
        Self { failure, status: None, error: Some(error), retry_after: None, answer: None }
    }
}

impl HttpClient {
    /// A client for the API at `url` that keeps up to `connections` idle connections. A call may take
    /// `deadline`, from the resolution of the name to the status of the response. If `excerpts`, an error has
    /// the beginning of the body.
    ///
    /// # Errors
    /// No trusted certificates for `https`.
    pub fn new(url: &Url, connections: usize, deadline: Duration, excerpts: bool) -> Result<Self, ClientError> {
        let build = |connections| {
            let builder = Client::builder()
                .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(POOL_IDLE_TIMEOUT)
                .pool_max_idle_per_host(connections)
                .connector_layer(Watched)
                // A redirect turns a POST into a GET, or carries credentials to another host.
                .redirect(redirect::Policy::none())
                .referer(false)
                // The worker counts every attempt.
                .retry(reqwest::retry::never())
                .no_proxy();
            let builder = with_tls_for(url, builder)?;
            builder.build().map_err(|fault| ClientError(fault.to_string()))
        };
        Ok(Self { client: build(connections)?, fresh: build(0)?, deadline, excerpts })
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
        let request = request.build().map_err(|fault| unanswered(&fault, true))?;
        let client = if connection::must_be_fresh() { &self.fresh } else { &self.client };
        let mut response = match timeout(self.deadline, connection::watch(client.execute(request))).await {
            Ok((response, connected)) => response.map_err(|fault| unanswered(&fault, connected))?,
            Err(_) => return Err(no_answer_within(self.deadline)),
        };
        let status = response.status();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let mut excerpt = Excerpt::of(&response).filter(|_| self.excerpts && !status.is_success());
        let mut read = 0;
        // The status decides; a body that is cut off or stalls changes nothing.
        let body = async {
            while let (true, Ok(Some(chunk))) = (read <= MAX_BODY_BYTES, response.chunk().await) {
                read += chunk.len();
                if let Some(excerpt) = &mut excerpt {
                    excerpt.add(&chunk);
                }
            }
        };
        let _ = timeout(BODY_TIMEOUT, body).await;
        let answer = excerpt.and_then(Excerpt::text);
        classify(status, retry_after).map_err(|error| AttemptError { answer, ..error })
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
/// Every status except 2xx.
pub fn classify(status: StatusCode, retry_after: Option<Duration>) -> Result<StatusCode, AttemptError> {
    if status.is_success() {
        return Ok(status);
    }
    let failure = match status.as_u16() {
        429 => Failure::Throttled,
        503 if retry_after.is_some() => Failure::Throttled,
        408 | 500..=599 => Failure::Failed,
        409 | 425 => Failure::InProgress,
        401 | 403 => Failure::Unauthorized,
        _ => Failure::Rejected,
    };
    Err(AttemptError { failure, status: Some(status.as_u16()), error: None, retry_after, answer: None })
}

/// A call without a response may have had its effect, unless no connection was made.
///
/// `connected` says whether the connection was made for it.
fn unanswered(fault: &reqwest::Error, connected: bool) -> AttemptError {
    let cause = innermost(fault);
    if fault.is_builder() {
        AttemptError::without_response(Failure::Rejected, format!("the request cannot be built: {cause}"))
    } else if fault.is_connect() {
        AttemptError::without_response(Failure::Unreached, format!("connection failed: {cause}"))
    } else {
        let failure = if connected { Failure::Unanswered } else { Failure::Stale };
        AttemptError::without_response(failure, format!("connection broke: {cause}"))
    }
}

/// The error of a call that took too long: the API may have acted.
pub(crate) fn no_answer_within(deadline: Duration) -> AttemptError {
    AttemptError::without_response(Failure::Unanswered, format!("no answer within {deadline:?}"))
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
    use std::net::SocketAddr;

    use reqwest::header::HeaderValue;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn each_status_has_its_meaning() {
        for code in 100..=599_u16 {
            let Ok(status) = StatusCode::from_u16(code) else { continue };
            let expected = match code {
                200..=299 => None,
                408 | 500..=599 => Some(Failure::Failed),
                429 => Some(Failure::Throttled),
                409 | 425 => Some(Failure::InProgress),
                401 | 403 => Some(Failure::Unauthorized),
                _ => Some(Failure::Rejected),
            };
            assert_eq!(classify(status, None).err().map(|error| error.failure), expected, "{code}");
            let asked = classify(status, Some(Duration::ZERO)).err().map(|error| error.failure);
            assert_eq!(asked, if code == 503 { Some(Failure::Throttled) } else { expected }, "{code}");
        }
    }

    /// A server that answers once on each connection, and closes it when it is used again.
    async fn server_that_closes_idle_connections() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1_024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                let closing = tokio::spawn(async move { stream.read(&mut request).await });
                drop(closing);
            }
        });
        address
    }

    #[tokio::test]
    async fn a_connection_that_breaks_when_it_is_reused_is_known_as_such() {
        let address = server_that_closes_idle_connections().await;
        let url: Url = format!("http://{address}/").parse().unwrap();
        let client = HttpClient::new(&url, 4, Duration::from_secs(5), false).unwrap();
        for call in 0..8 {
            let request = || client.post(url.clone()).body("x");
            let sent = match client.send(request()).await {
                Err(AttemptError { failure: Failure::Stale, .. }) => fresh(client.send(request())).await,
                sent => sent,
            };
            assert_eq!(sent.map(|status| status.as_u16()), Ok(200), "call {call}");
        }
    }

    #[tokio::test]
    async fn a_fresh_connection_that_breaks_is_an_attempt_without_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let connections = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1_024]).await;
            drop(stream);
        });
        let client = HttpClient::new(&url, 4, Duration::from_secs(5), false).unwrap();
        let sent = client.send(client.post(url).body("x")).await;
        assert_eq!(sent.map_err(|error| error.failure), Err(Failure::Unanswered));
        connections.await.unwrap();
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
        for date in ["Mon, 23 Nov 2026 12:00:30 GMT", "Monday, 23-Nov-26 12:00:30 GMT", "Mon Nov 23 12:00:30 2026"] {
            assert_eq!(read(date), Some(Duration::from_secs(30)), "{date}");
        }
        for ignored in ["-1", "soon", "", "1.5", "99999999999999999999", "Mon, 23 Nov 2026 11:00:00 GMT"] {
            assert_eq!(read(ignored), None, "{ignored}");
        }
    }
}
