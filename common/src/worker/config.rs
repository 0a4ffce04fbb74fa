//! The configuration of a worker.

use std::{num::NonZeroU32, time::Duration};

use super::limit::HIGHEST;
use crate::{
    config::{Faults, Setting, Settings, common_settings},
    destination::Destination,
    retry::RetryPolicy,
};

const CONCURRENCY: Setting = Setting::new(
    "CONCURRENCY",
    "auto",
    "The most calls at a time, 1 to 1000; with auto the worker finds out what the API takes.",
);
const MAX_ATTEMPTS: Setting = Setting::required(
    "MAX_ATTEMPTS",
    "The most attempts for one delivery, 1 to 10000. Those that never reached the API, or that it put off, do not count.",
);
const REQUEST_TIMEOUT: Setting = Setting::required("REQUEST_TIMEOUT", "How long one attempt may take.");
const BACKOFF_INITIAL: Setting = Setting::new(
    "BACKOFF_INITIAL",
    "500ms",
    "The delay after the first failed attempt. It doubles with each further one, and varies by half.",
);
const BACKOFF_MAX: Setting = Setting::new(
    "BACKOFF_MAX",
    "30s",
    "The longest delay, up to RETRY_FOR. If the API asks for a longer one with Retry-After, it gets it.",
);
const RETRY_FOR: Setting = Setting::new(
    "RETRY_FOR",
    "24h",
    "How long after its acceptance an order is retried. After that it is a dead letter: expired.",
);
const ANSWER_EXCERPT: Setting = Setting::new(
    "ANSWER_EXCERPT",
    "on",
    "Whether the beginning of what the API says when it refuses an order is kept with the attempt: on or off.",
);

/// The configuration of every worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// The most calls at a time; `None` if the worker finds out by itself.
    pub concurrency: Option<usize>,
    /// How deliveries are attempted.
    pub retry: RetryPolicy,
    /// Whether the beginning of an API's answer is kept.
    pub excerpts: bool,
}

/// Every setting of a worker: those of every process, those of every worker, and its own.
#[must_use]
pub fn worker_settings<D: Destination>() -> Vec<Setting> {
    let defaults = D::DEFAULTS;
    let mut settings = common_settings(defaults.http_addr).to_vec();
    settings.extend([
        CONCURRENCY,
        MAX_ATTEMPTS.or(defaults.max_attempts),
        REQUEST_TIMEOUT.or(defaults.request_timeout),
        BACKOFF_INITIAL,
        BACKOFF_MAX,
        RETRY_FOR,
        ANSWER_EXCERPT,
    ]);
    settings.extend_from_slice(D::SETTINGS);
    settings
}

impl WorkerConfig {
    /// Reads the settings of every worker.
    ///
    /// # Errors
    /// The faults, which `settings` also collects.
    pub fn read(settings: &mut Settings) -> Result<Self, Faults> {
        let concurrency = settings.parsed(&CONCURRENCY, |text| match text.parse::<usize>() {
            _ if text == "auto" => Ok(None),
            Ok(number) if (1..=HIGHEST).contains(&number) => Ok(Some(number)),
            _ => Err(format!("must be auto or a whole number from 1 to {HIGHEST}, is {text:?}")),
        });
        let max_attempts = settings.number(&MAX_ATTEMPTS, 1..=10_000_u32);
        let attempt_timeout = settings.duration(&REQUEST_TIMEOUT);
        let initial = settings.duration(&BACKOFF_INITIAL);
        let max = settings.duration(&BACKOFF_MAX);
        let retry_for = settings.duration(&RETRY_FOR);
        let excerpts = settings.parsed(&ANSWER_EXCERPT, |text| match text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(format!("must be on or off, is {text:?}")),
        });
        if attempt_timeout == Ok(Duration::ZERO) {
            settings.fault(&REQUEST_TIMEOUT, "must be greater than zero");
        }
        if let (Ok(initial), Ok(max)) = (&initial, &max)
            && (initial.is_zero() || initial > max)
        {
            let expected = format!("must be greater than zero and at most BACKOFF_MAX ({max:?}), is {initial:?}");
            settings.fault(&BACKOFF_INITIAL, expected);
        }
        if let (Ok(max), Ok(retry_for)) = (&max, &retry_for)
            && max > retry_for
        {
            settings.fault(&BACKOFF_MAX, format!("must be at most RETRY_FOR ({retry_for:?}), is {max:?}"));
        }
        let max_attempts = NonZeroU32::new(max_attempts?).unwrap_or(NonZeroU32::MIN);
        let (attempt_timeout, initial, max, retry_for) = (attempt_timeout?, initial?, max?, retry_for?);
        let retry = RetryPolicy { max_attempts, attempt_timeout, initial, max, retry_for };
        Ok(Self { concurrency: concurrency?, retry, excerpts: excerpts? })
    }

    /// The most calls that may ever run at a time.
    #[must_use]
    pub fn most_calls(&self) -> usize {
        self.concurrency.unwrap_or(HIGHEST)
    }
}
