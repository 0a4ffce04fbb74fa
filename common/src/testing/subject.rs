//! The destination under test, configured and called as its worker does.

use std::{
    any::Any,
    collections::HashMap,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use futures_util::FutureExt as _;
use reqwest::StatusCode;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Env, Request, api::Api};
use crate::{
    config::{Faults, Settings, Source},
    destination::{Call, Destination},
    event::OrderCreated,
    http_client::{AttemptError, HttpClient},
    trace_context::TraceParent,
    worker::worker_settings,
};

/// How long something may take that should end at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How many idle connections the client keeps.
const CONNECTIONS: usize = 16;
/// The deadline of a call, which no response of the suite comes close to.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// The result of an attempt.
pub(super) type Answered = Result<StatusCode, AttemptError>;

/// A destination and the API that it calls.
pub(super) struct Subject<'a, D> {
    pub(super) api: Api,
    env_for: &'a dyn Fn(&str) -> Env,
    kind: PhantomData<D>,
}

impl<'a, D: Destination> Subject<'a, D> {
    pub(super) fn new(api: Api, env_for: &'a dyn Fn(&str) -> Env) -> Self {
        Self { api, env_for, kind: PhantomData }
    }

    /// Its settings for an API at this address.
    pub(super) fn env(&self, base: &str) -> HashMap<String, String> {
        (self.env_for)(base).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The settings that contain the address of the API.
    pub(super) fn addresses(&self) -> Vec<&'static str> {
        let base = self.api.base();
        (self.env_for)(base).into_iter().filter(|(_, value)| value.contains(base)).map(|(name, _)| name).collect()
    }

    /// The values of its secrets.
    pub(super) fn secrets(&self) -> Vec<String> {
        let secret = |name: &str| D::SETTINGS.iter().any(|setting| setting.secret && setting.name == name);
        (self.env_for)(self.api.base()).into_iter().filter(|(name, _)| secret(name)).map(|(_, value)| value).collect()
    }

    /// Whether a text shows none of its secrets.
    pub(super) fn hides_secrets(&self, text: &str) -> Result<(), String> {
        match self.secrets().iter().find(|secret| text.contains(secret.as_str())) {
            Some(secret) => Err(format!("{secret:?} is shown in {text:?}")),
            None => Ok(()),
        }
    }

    /// Reads these settings as its worker does.
    pub(super) fn configured(env: HashMap<String, String>) -> Result<D::Config, Unconfigured> {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let mut settings = Settings::new(Source { env, ..Source::default() }, &worker_settings::<D>());
            let config = D::configure(&mut settings);
            settings.finish()?;
            config
        }));
        caught.map_err(|panic| Unconfigured::Panic(words(&*panic)))?.map_err(Unconfigured::Faults)
    }

    /// The destination, for an API at this address.
    pub(super) fn made(&self, base: &str) -> Result<D, String> {
        Self::made_with(self.env(base))
    }

    /// The destination with these settings.
    pub(super) fn made_with(env: HashMap<String, String>) -> Result<D, String> {
        let config = Self::configured(env).map_err(|fault| format!("`configure`: {fault}"))?;
        let client =
            HttpClient::new(D::url(&config), CONNECTIONS, CALL_DEADLINE, true).map_err(|fault| fault.to_string())?;
        catch_unwind(AssertUnwindSafe(|| D::new(config, client)))
            .map_err(|panic| format!("`new` panicked: {}", words(&*panic)))
    }

    /// Makes one attempt, which must make exactly one call.
    pub(super) async fn one_call(
        &self,
        destination: &D,
        order: &OrderCreated,
        call: &Call,
    ) -> Result<(Answered, Request), String> {
        self.api.take_requests();
        let answered = attempt(destination, order, call).await?;
        let mut requests = self.api.take_requests();
        match requests.pop() {
            Some(request) if requests.is_empty() => Ok((answered, request)),
            last => {
                let calls = requests.len() + usize::from(last.is_some());
                Err(format!("expected one call, found {calls}; the attempt was {}", describe(&answered)))
            }
        }
    }
}

/// Why it cannot be configured.
pub(super) enum Unconfigured {
    Faults(Faults),
    Panic(String),
}

impl std::fmt::Display for Unconfigured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Faults(faults) => faults.fmt(f),
            Self::Panic(words) => write!(f, "panicked: {words}"),
        }
    }
}

/// A call as the worker would make it for a new delivery.
pub(super) fn a_call() -> Call {
    Call { idempotency_key: Uuid::new_v4(), trace: TraceParent::root() }
}

/// Makes one attempt, which must not panic and must end within [`PATIENCE`].
pub(super) async fn attempt<D: Destination>(
    destination: &D,
    order: &OrderCreated,
    call: &Call,
) -> Result<Answered, String> {
    let attempt = AssertUnwindSafe(async { destination.attempt(order, call).await }).catch_unwind();
    match timeout(PATIENCE, attempt).await {
        Ok(Ok(answered)) => Ok(answered),
        Ok(Err(panic)) => Err(format!("`attempt` panicked: {}", words(&*panic))),
        Err(_) => Err(format!("`attempt` did not end within {PATIENCE:?}")),
    }
}

/// The result of an attempt, for people.
pub(super) fn describe(answered: &Answered) -> String {
    let (mut words, status, error) = match answered {
        Ok(status) => ("a success".to_owned(), Some(status.as_u16()), &None),
        Err(AttemptError { failure, status, error, retry_after: None, .. }) => (format!("{failure:?}"), *status, error),
        Err(AttemptError { failure, status, error, retry_after: Some(delay), .. }) => {
            (format!("{failure:?}, to be retried after {delay:?}"), *status, error)
        }
    };
    words.push_str(&status.map_or_else(|| ", without a status".to_owned(), |status| format!(", with status {status}")));
    words.push_str(&error.as_ref().map_or_else(String::new, |error| format!(", with the error {error:?}")));
    words
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
