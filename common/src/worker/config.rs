//! The configuration of a worker.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    config::{Faults, Setting, Settings, common_settings},
    destination::Destination,
    retry::RetryPolicy,
};

const CONCURRENCY: Setting =
    Setting::new("CONCURRENCY", "64", "The most deliveries that are attempted at a time, 1 to 1000.");
const MAX_ATTEMPTS: Setting = Setting::required("MAX_ATTEMPTS", "The most attempts for one delivery, 1 to 100.");
const REQUEST_TIMEOUT: Setting = Setting::required("REQUEST_TIMEOUT", "How long one attempt may take.");
const BACKOFF_INITIAL: Setting = Setting::new(
    "BACKOFF_INITIAL",
    "500ms",
    "The delay after the first failed attempt. It doubles with each further one, and varies by half.",
);
const BACKOFF_MAX: Setting =
    Setting::new("BACKOFF_MAX", "30s", "The longest delay, even if the API asks for a longer one with Retry-After.");

/// How many deliveries are held for each concurrent call: some are being reported while others run.
const PREFETCH_FACTOR: u16 = 2;
/// RabbitMQ takes back a delivery that is held for half an hour. Half of that is the limit here, because
/// a delivery also waits for its turn, and the broker checks only once a minute.
const LONGEST_HOLD: Duration = Duration::from_secs(15 * 60);

/// The configuration of every worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// The most deliveries that are attempted at a time.
    pub concurrency: usize,
    /// How deliveries are attempted.
    pub retry: RetryPolicy,
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
        let concurrency = settings.number(&CONCURRENCY, 1..=1_000_usize);
        let max_attempts = settings.number(&MAX_ATTEMPTS, 1..=100_u32);
        let attempt_timeout = settings.duration(&REQUEST_TIMEOUT);
        let initial = settings.duration(&BACKOFF_INITIAL);
        let max = settings.duration(&BACKOFF_MAX);
        if attempt_timeout == Ok(Duration::ZERO) {
            settings.fault(&REQUEST_TIMEOUT, "must be greater than zero");
        }
        if let (Ok(initial), Ok(max)) = (&initial, &max)
            && (initial.is_zero() || initial > max)
        {
            let expected = format!("must be greater than zero and at most BACKOFF_MAX ({max:?}), is {initial:?}");
            settings.fault(&BACKOFF_INITIAL, expected);
        }
        let (concurrency, max_attempts, attempt_timeout, initial, max) =
            (concurrency?, max_attempts?, attempt_timeout?, initial?, max?);
        let max_attempts = NonZeroU32::new(max_attempts).unwrap_or(NonZeroU32::MIN);
        let config = Self { concurrency, retry: RetryPolicy { max_attempts, attempt_timeout, initial, max } };
        let hold = config.longest_hold();
        if hold > LONGEST_HOLD {
            return Err(settings.fault(
                &MAX_ATTEMPTS,
                format!(
                    "with REQUEST_TIMEOUT and BACKOFF_MAX a delivery could be held for {} s; more than {} s is too \
                     close to the 30 minutes after which RabbitMQ gives it to another worker: reduce one of the three",
                    hold.as_secs(),
                    LONGEST_HOLD.as_secs()
                ),
            ));
        }
        Ok(config)
    }

    /// How many unsettled deliveries the broker may hand out.
    #[must_use]
    pub fn prefetch(&self) -> u16 {
        u16::try_from(self.concurrency).unwrap_or(u16::MAX).saturating_mul(PREFETCH_FACTOR)
    }

    /// The longest that a delivery can be held: it may wait for others that take as long as possible.
    fn longest_hold(&self) -> Duration {
        self.retry.worst_case().saturating_mul(u32::from(PREFETCH_FACTOR))
    }
}
