//! Tests of the suite: a destination with one flaw at a time, each of which must break its sentence.

use reqwest::{Method, RequestBuilder, StatusCode, Url, redirect::Policy};
use serde::Serialize;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::check;
use crate::{
    config::{Faults, Setting, Settings},
    destination::{Call, Defaults, Destination},
    event::OrderCreated,
    http_client::{AttemptError, Failure, HttpClient, below, classify, without_tls},
    order::Item,
};

/// A destination with the flaw that its setting `FLAW` names; with `MISDECLARED`, everything that it declares is wrong.
#[derive(Debug)]
struct Flawed<const MISDECLARED: bool> {
    flaw: String,
    client: HttpClient,
    url: Url,
    shown: Option<String>,
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Config {
    flaw: String,
    url: Url,
    shown: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    order: String,
    items: &'a [Item],
    nonce: Option<Uuid>,
}

const API_URL: Setting = Setting::required("API_URL", "Where it is.");
const API_KEY: Setting = Setting::required("API_KEY", "What it wants to see.").secret();
const FLAW: Setting = Setting::new("FLAW", "none", "What is wrong.");

impl<const MISDECLARED: bool> Destination for Flawed<MISDECLARED> {
    const NAME: &'static str = if MISDECLARED { "Flawed API" } else { "flawed" };
    const BINARY: &'static str = if MISDECLARED { "" } else { "worker-flawed" };
    const SETTINGS: &'static [Setting] = if MISDECLARED {
        &[
            Setting { help: "where it is", ..API_URL },
            Setting { secret: false, ..API_KEY },
            FLAW,
            Setting::new("CONCURRENCY", "1", "Taken already."),
        ]
    } else {
        &[API_URL, API_KEY, FLAW]
    };
    const DEFAULTS: Defaults = Defaults {
        http_addr: "127.0.0.1:8083",
        max_attempts: if MISDECLARED { "0" } else { "3" },
        request_timeout: "5s",
    };

    type Config = Config;

    fn configure(settings: &mut Settings) -> Result<Config, Faults> {
        let flaw = settings.parsed(&FLAW, |text| Ok(text.to_owned()))?;
        let url = match flaw.as_str() {
            "any address" => settings.parsed(&API_URL, |text| text.parse().map_err(|_| "is not a URL".to_owned())),
            "repeats an address" => {
                settings.url(&API_URL).map_err(|_| settings.fault(&API_URL, "http://u:conformance-password@h"))
            }
            "one fault at a time" => Ok(settings.url(&API_URL)?),
            _ => settings.url(&API_URL),
        };
        let key = settings.parsed(&API_KEY, |text| match flaw.as_str() {
            "repeats a secret" if text.contains('\n') => Err(format!("must be one line, is {text}")),
            "panics on a secret" if text.contains('\n') => panic!("a line break"),
            _ => Ok(text.to_owned()),
        });
        let (mut url, key) = (url?, key?);
        if flaw == "another address" {
            url = "http://127.0.0.1:9".parse().unwrap();
        }
        let shown = flaw == "debug text" || flaw == "secret in the path";
        Ok(Config { flaw, url, shown: shown.then_some(key) })
    }

    fn new(Config { flaw, url, shown }: Config, client: HttpClient) -> Self {
        Self { flaw, client, url, shown, turn: Mutex::new(()) }
    }

    fn url(config: &Config) -> &Url {
        &config.url
    }

    async fn attempt(&self, order: &OrderCreated, call: &Call) -> Result<StatusCode, AttemptError> {
        let flaw = self.flaw.as_str();
        assert!(flaw != "panics" || order.customer_id.as_str().is_ascii(), "a customer must be ASCII");
        let _turn = if flaw == "one after the other" { Some(self.turn.lock().await) } else { None };
        let items = order.items.as_slice();
        let most = if flaw == "cuts the order" { 100 } else { usize::MAX };
        let body = Body {
            order: if flaw == "no order id" { String::new() } else { order.order_id.to_string() },
            items: &items[..items.len().min(most)],
            nonce: (flaw == "another body").then(Uuid::new_v4),
        };
        let url = match flaw {
            "path of the order" => below(&self.url, &format!("orders/{}", order.order_id)),
            "path from the root" => self.url.join("/orders").unwrap(),
            "secret in the path" => below(&self.url, self.shown.as_deref().unwrap_or_default()),
            _ => below(&self.url, "orders"),
        };
        let post = match flaw {
            "follows redirects" => own_client(Policy::limited(3)).post(url),
            "connection for each order" => own_client(Policy::none()).post(url),
            _ => self.client.post(url),
        };
        let request = match flaw {
            "no headers" => post,
            "headers twice" => call.headers(order, call.headers(order, post)),
            "another key" => Call { idempotency_key: Uuid::new_v4(), ..call.clone() }.headers(order, post),
            _ => call.headers(order, post),
        };
        let request = match flaw {
            "no content type" => request.body(serde_json::to_vec(&body).unwrap()),
            _ => request.json(&body),
        };
        self.send(request).await
    }
}

impl<const MISDECLARED: bool> Flawed<MISDECLARED> {
    async fn send(&self, request: RequestBuilder) -> Result<StatusCode, AttemptError> {
        let transient = |status, error: &str| AttemptError {
            status,
            ..AttemptError::without_response(Failure::Unanswered, error.to_owned())
        };
        match self.flaw.as_str() {
            "another method" => {
                let (client, request) = request.build_split();
                let mut request = request.unwrap();
                *request.method_mut() = Method::PUT;
                self.client.send(RequestBuilder::from_parts(client, request)).await
            }
            "calls again by itself" => match self.client.send(request.try_clone().unwrap()).await {
                Err(AttemptError { failure: Failure::Failed, .. }) => self.client.send(request).await,
                ended => ended,
            },
            "never gives up" => self.client.send(request).await.map_err(|_| transient(None, "failed")),
            "reads all" | "follows redirects" | "connection for each order" => {
                let answer = request.send().await.map_err(|_| transient(None, "broken"))?;
                let status = answer.status();
                let _ = answer.bytes().await;
                classify(status, None)
            }
            "shows the address" => {
                let answer = request.send().await;
                answer
                    .map_err(|fault| transient(None, &fault.to_string()))
                    .and_then(|answer| classify(answer.status(), None))
            }
            _ => self.client.send(request).await,
        }
    }
}

fn own_client(redirects: Policy) -> reqwest::Client {
    without_tls(reqwest::Client::builder().redirect(redirects).no_proxy()).unwrap().build().unwrap()
}

/// The sentences that a destination with this flaw breaks.
fn broken<const MISDECLARED: bool>(flaw: &str) -> Vec<String> {
    let report = check::<Flawed<MISDECLARED>>(|url| {
        vec![(API_URL.name, url.to_owned()), (API_KEY.name, "flawed-secret".to_owned()), (FLAW.name, flaw.to_owned())]
    });
    report.broken().iter().map(|broken| broken.sentence.clone()).collect()
}

#[test]
fn a_destination_without_a_flaw_breaks_no_sentence() {
    assert_eq!(broken::<false>("none"), Vec::<String>::new());
}

#[test]
fn what_a_destination_declares_is_checked() {
    let broken = broken::<true>("none");
    for sentence in
        ["its NAME", "its BINARY", "its defaults", "a distinct name", "is a sentence", "named like a secret"]
    {
        assert!(broken.iter().any(|found| found.contains(sentence)), "{sentence} in {broken:#?}");
    }
}

#[test]
fn every_flaw_breaks_its_sentence() {
    let flaws = [
        ("any address", "is not http or https"),
        ("repeats an address", "the password is not repeated"),
        ("one fault at a time", "reported at once"),
        ("another address", "`url` is the configured address"),
        ("repeats a secret", "does not fit a header"),
        ("panics on a secret", "does not fit a header"),
        ("debug text", "debug output"),
        ("secret in the path", "show no secret"),
        ("panics", "texts arrive"),
        ("one after the other", "at the same time"),
        ("cuts the order", "the largest order"),
        ("no order id", "has the order's id"),
        ("another body", "the same body and key"),
        ("path of the order", "the same path"),
        ("path from the root", "below the base address"),
        ("no headers", "carries Idempotency-Key"),
        ("headers twice", "carries X-Correlation-ID, once"),
        ("another key", "carries Idempotency-Key, once"),
        ("no content type", "Content-Type is JSON"),
        ("another method", "is a POST"),
        ("calls again by itself", "mean Failed, after one call"),
        ("never gives up", "mean Rejected, after one call"),
        ("follows redirects", "not followed"),
        ("connection for each order", "share a connection"),
        ("reads all", "Retry-After of a 429"),
        ("reads all", "32 MiB"),
        ("shows the address", "a refused connection"),
    ];
    // Most of the time is spent waiting.
    std::thread::scope(|scope| {
        for (flaw, sentence) in flaws {
            scope.spawn(move || {
                let broken = broken::<false>(flaw);
                assert!(
                    broken.iter().any(|found| found.contains(sentence)),
                    "{flaw}: {sentence:?} is not in {broken:#?}"
                );
            });
        }
    });
}
