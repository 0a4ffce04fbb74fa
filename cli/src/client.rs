//! Requests to the API: each has a deadline and a limit on what is read, and a refusal is not the same as silence.

use std::{net::IpAddr, time::Duration};

use api::List;
use common::http_client::with_tls_for;
use reqwest::{Method, StatusCode, Url, header::HeaderMap};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::{
    exit::Failure,
    output::Screen,
    problem::Problem,
    sse::{Event, Parser},
};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest response that is read.
const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// A live stream that is silent for this long has lost its connection.
const SILENCE: Duration = Duration::from_secs(60);
/// The largest page that the API allows.
const MAX_PAGE: u64 = 500;

/// A client for the API at one address.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    timeout: Duration,
}

/// A response of the API.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// JSON, as it was sent.
    pub(crate) body: String,
}

/// A request to the API.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    method: Method,
    path: Vec<&'a str>,
    query: Vec<(&'a str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    /// How much longer than usual the response may take.
    extra_time: Duration,
}

impl<'a> Request<'a> {
    /// `GET` of the path with these segments.
    pub(crate) fn get(path: impl Into<Vec<&'a str>>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method: Method::GET, path: path.into(), query, headers, body: None, extra_time: Duration::ZERO }
    }

    /// `POST` of a JSON body to the path with these segments.
    pub(crate) fn post(path: impl Into<Vec<&'a str>>, body: String) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(path) }
    }

    pub(crate) fn query(mut self, parameters: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        self.query.extend(parameters);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn extra_time(mut self, extra_time: Duration) -> Self {
        self.extra_time = extra_time;
        self
    }
}

impl Client {
    /// A client for the API below `base`, which may have a path.
    ///
    /// # Errors
    /// No trusted certificates for `https`.
    pub(crate) fn new(base: &Url, timeout: Duration) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tandem-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        // Other hosts may be reachable only through the proxies of the environment.
        if is_loopback(base) {
            builder = builder.no_proxy();
        }
        let failed = |fault: &dyn std::fmt::Display| Failure::Other(fault.to_string());
        let http = with_tls_for(base, builder).map_err(|fault| failed(&fault))?;
        let http = http.build().map_err(|fault| failed(&fault))?;
        Ok(Self { http, base: base.clone(), timeout })
    }

    /// The same client for another address.
    pub(crate) fn at(&self, base: &Url) -> Result<Self, Failure> {
        Self::new(base, self.timeout)
    }

    /// The server, without the parts of the URL that may be secret.
    pub(crate) fn server(&self) -> String {
        server(&self.base)
    }

    /// Sends a request and reads a successful response.
    ///
    /// # Errors
    /// [`Failure::Refused`] for every status but 2xx, [`Failure::Unreachable`] without a response.
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Response, Failure> {
        let response = self.send_any(request).await?;
        if response.status.is_success() { Ok(response) } else { Err(response.refused()) }
    }

    /// Sends a request and reads the response, whatever its status.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] without a response.
    pub(crate) async fn send_any(&self, request: &Request<'_>) -> Result<Response, Failure> {
        let deadline = self.timeout.saturating_add(request.extra_time);
        let sent = async { self.response(self.begin(request).await?).await };
        timeout(deadline, sent).await.unwrap_or_else(|_| {
            Err(self.unreachable(format!("no answer within {} s (--timeout)", deadline.as_secs_f32())))
        })
    }

    /// Sends a request that is safe to repeat, once more if there was no response to the first.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn send_twice(&self, request: &Request<'_>, screen: Screen) -> Result<Response, Failure> {
        match self.send(request).await {
            Err(Failure::Unreachable { cause, .. }) => {
                screen.say(format_args!("{} does not answer ({cause}); sending once more", self.server()));
                self.send(request).await
            }
            response => response,
        }
    }

    /// A live stream, from the event after the one with this id.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn stream(&self, path: &[&str], after: Option<&str>) -> Result<Stream, Failure> {
        let mut request = Request::get(path).header("accept", "text/event-stream");
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let opened = async {
            let response = self.begin(&request).await?;
            if response.status().is_success() { Ok(response) } else { Err(self.response(response).await?.refused()) }
        };
        let overdue = |_| Err(self.unreachable("the stream does not start".to_owned()));
        let response = timeout(self.timeout, opened).await.unwrap_or_else(overdue)?;
        Ok(Stream { response, parser: Parser::default(), ready: Vec::new().into_iter() })
    }

    /// Calls `each` with the items of a list, page by page, up to `limit`. Returns whether there are more.
    ///
    /// # Errors
    /// As [`Client::send`], and those of `each`.
    pub(crate) async fn pages(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        limit: Option<u64>,
        mut each: impl FnMut(Vec<Box<RawValue>>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let mut left = limit.unwrap_or(u64::MAX);
        let mut cursor: Option<String> = None;
        loop {
            let request = Request::get(path)
                .query(query.iter().cloned())
                .query([("limit", left.min(MAX_PAGE).to_string())])
                .query(cursor.take().map(|cursor| ("cursor", cursor)));
            let List { mut items, next_cursor } = self.send(&request).await?.read::<List<Box<RawValue>>>()?;
            items.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= items.len() as u64;
            let empty = items.is_empty();
            each(items)?;
            match next_cursor {
                Some(_) if left == 0 || empty => return Ok(true),
                Some(next) => cursor = Some(next),
                None => return Ok(false),
            }
        }
    }

    async fn begin(&self, request: &Request<'_>) -> Result<reqwest::Response, Failure> {
        let mut made = self.http.request(request.method.clone(), self.url(&request.path, &request.query));
        for (name, value) in &request.headers {
            made = made.header(*name, value);
        }
        if let Some(body) = &request.body {
            made = made.header("content-type", "application/json").body(body.clone());
        }
        made.send().await.map_err(|fault| self.unreachable(innermost(&fault)))
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        // The arguments allow http and https only, and those always have segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn response(&self, mut response: reqwest::Response) -> Result<Response, Failure> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|fault| self.unreachable(innermost(&fault)))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_RESPONSE_BYTES {
                return Err(Failure::Other(format!("the response is larger than {} MiB", MAX_RESPONSE_BYTES >> 20)));
            }
        }
        Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn unreachable(&self, cause: String) -> Failure {
        Failure::Unreachable { server: self.server(), cause }
    }
}

impl Response {
    /// The body as one of the types of the API.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        read(&self.body)
    }

    fn refused(&self) -> Failure {
        Failure::Refused(Box::new(Problem::read(self.status, &self.headers, &self.body)))
    }
}

/// A part of a body as one of the types of the API.
///
/// # Errors
/// It is something else.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|fault| {
        let begins: String = json.chars().take(200).collect();
        Failure::Other(format!(
            "the response is not what this version of tandem expects ({fault}); is --url the address of a producer?\n  {begins}"
        ))
    })
}

/// The body of a request.
///
/// # Errors
/// Only for types that JSON cannot hold.
pub(crate) fn to_json(body: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(body).map_err(|fault| Failure::Other(fault.to_string()))
}

/// A live stream of events.
#[derive(Debug)]
pub(crate) struct Stream {
    response: reqwest::Response,
    parser: Parser,
    ready: std::vec::IntoIter<Event>,
}

impl Stream {
    /// The next event; `None` once the stream has ended or broken off.
    ///
    /// Cancellation safe.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.next() {
                return Some(event);
            }
            let chunk = timeout(SILENCE, self.response.chunk()).await.ok()?.ok()??;
            self.ready = self.parser.feed(&chunk).ok()?.into_iter();
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Scheme, host and port.
pub(crate) fn server(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The innermost cause: what a person needs to know, and never the URL. Without the number of the system error.
fn innermost(fault: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = fault;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let words = cause.to_string();
    words.split_once(" (os error").map_or(&*words, |(words, _)| words).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(base: &str) -> Client {
        Client::new(&base.parse().unwrap(), Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn an_id_is_always_one_segment() {
        let query = [("error", "a b&c".to_owned())];
        for (base, wanted) in [
            ("http://h", "http://h/v1/orders/a%2Fb%3Fc?error=a+b%26c"),
            ("http://h/tandem/", "http://h/tandem/v1/orders/a%2Fb%3Fc?error=a+b%26c"),
        ] {
            assert_eq!(client(base).url(&["v1", "orders", "a/b?c"], &query).as_str(), wanted);
        }
        assert_eq!(
            client("http://h").url(&["v1", "dead-letters:groups"], &[]).as_str(),
            "http://h/v1/dead-letters:groups"
        );
    }

    #[test]
    fn a_server_is_shown_without_credentials() {
        assert_eq!(client("http://me:hush@h:81/x?y=hush").server(), "http://h:81");
    }

    #[test]
    fn no_proxy_is_used_for_this_machine() {
        for (url, loopback) in [
            ("http://localhost:1", true),
            ("http://127.0.0.9", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), loopback, "{url}");
        }
    }
}
