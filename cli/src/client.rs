//! Asking the API: a deadline on everything, a bound on what is read, and a refusal told apart from silence.

use std::{net::IpAddr, time::Duration};

use common::http_client::with_tls_for;
use reqwest::{Method, Response, StatusCode, Url, header::HeaderMap};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::{
    ending::Failure,
    problem::Problem,
    sse::{Event, Parser},
};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer beyond this is not read to its end.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// A live stream that is silent for this long is taken for dead.
const SILENCE: Duration = Duration::from_secs(60);
/// Most items asked for at a time, as the API has it.
const PAGE: u64 = 500;

/// A client for the API at one address.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    answer_within: Duration,
}

/// What the API answered when it did not refuse.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// JSON, as it came.
    pub(crate) body: String,
}

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// A request to be made.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    method: Method,
    path: Vec<&'a str>,
    query: Vec<(&'a str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    /// How much longer than usual the answer may take.
    patience: Duration,
}

impl<'a> Request<'a> {
    /// `GET` of the path with these segments.
    pub(crate) fn get(path: impl Into<Vec<&'a str>>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method: Method::GET, path: path.into(), query, headers, body: None, patience: Duration::ZERO }
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

    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Client {
    /// A client for the API below `base`, which may have a path of its own.
    ///
    /// # Errors
    /// No trusted certificates for `https`.
    pub(crate) fn new(base: &Url, answer_within: Duration) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tandem-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        // Elsewhere the system's proxies may be the only way there.
        if is_loopback(base) {
            builder = builder.no_proxy();
        }
        let failed = |fault: &dyn std::fmt::Display| Failure::Other(fault.to_string());
        let http = with_tls_for(base, builder).map_err(|fault| failed(&fault))?;
        let http = http.build().map_err(|fault| failed(&fault))?;
        Ok(Self { http, base: base.clone(), answer_within })
    }

    /// The same client for another address.
    pub(crate) fn at(&self, base: &Url) -> Result<Self, Failure> {
        Self::new(base, self.answer_within)
    }

    /// Who is asked, without what may be secret in the URL.
    pub(crate) fn server(&self) -> String {
        server(&self.base)
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// [`Failure::Refused`] for every status but 2xx, [`Failure::Unreachable`] where there is no answer.
    pub(crate) async fn ask(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let answer = self.ask_anything(request).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(Failure::Refused(Box::new(Problem::read(answer.status, &answer.headers, &answer.body))))
    }

    /// Asks, and reads the answer whatever its status.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] where there is no answer.
    pub(crate) async fn ask_anything(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let deadline = self.answer_within.saturating_add(request.patience);
        let asked = async {
            let response = self.send(request).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok(Answer { status, headers, body: self.text(response).await? })
        };
        timeout(deadline, asked).await.unwrap_or_else(|_| {
            Err(self.unreachable(format!("no answer within {} s (--timeout)", deadline.as_secs_f32())))
        })
    }

    /// A live stream, from after the event with this id.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub(crate) async fn stream(&self, path: &[&str], after: Option<&str>) -> Result<Stream, Failure> {
        let mut request = Request::get(path).header("accept", "text/event-stream");
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let opened = async {
            let response = self.send(&request).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let (status, headers) = (response.status(), response.headers().clone());
            let body = self.text(response).await?;
            Err(Failure::Refused(Box::new(Problem::read(status, &headers, &body))))
        };
        let overdue = |_| Err(self.unreachable("the stream does not begin".to_owned()));
        let response = timeout(self.answer_within, opened).await.unwrap_or_else(overdue)?;
        Ok(Stream { response, parser: Parser::default(), ready: Vec::new().into_iter() })
    }

    /// The items of a list, page by page, up to `limit`; `each` gets a page and may take its time.
    ///
    /// # Errors
    /// As [`Client::ask`], and those of `each`.
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
                .query([("limit", left.min(PAGE).to_string())])
                .query(cursor.take().map(|cursor| ("cursor", cursor)));
            let Page { mut items, next_cursor } = self.ask(&request).await?.read()?;
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

    async fn send(&self, request: &Request<'_>) -> Result<Response, Failure> {
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
        // Only http and https get past the arguments, and those always have segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn text(&self, mut response: Response) -> Result<String, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|fault| self.unreachable(innermost(&fault)))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(Failure::Other(format!("the answer is larger than {} MiB", MAX_ANSWER_BYTES >> 20)));
            }
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn unreachable(&self, cause: String) -> Failure {
        Failure::Unreachable { server: self.server(), cause }
    }
}

impl Answer {
    /// The answer as one of our types; what is not known in it is passed over.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        read(&self.body)
    }
}

/// A part of an answer as one of our types.
///
/// # Errors
/// It is something else.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|fault| {
        let begins: String = json.chars().take(200).collect();
        Failure::Other(format!(
            "the answer is not what this version of tandem expects ({fault}); is --url the address of a producer?\n  {begins}"
        ))
    })
}

/// A live stream of events.
#[derive(Debug)]
pub(crate) struct Stream {
    response: Response,
    parser: Parser,
    ready: std::vec::IntoIter<Event>,
}

impl Stream {
    /// The next event; none when the stream has ended, in whatever way.
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

/// The cause at the bottom, which is what a person needs, and which never holds the URL; without the system's number.
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
    fn an_id_is_one_segment_whatever_is_in_it() {
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
    fn a_server_is_named_without_credentials() {
        assert_eq!(client("http://me:hush@h:81/x?y=hush").server(), "http://h:81");
    }

    #[test]
    fn this_machine_is_asked_without_a_proxy() {
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
