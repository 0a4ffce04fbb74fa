//! What every worker is told.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    config::{Faults, Setting, Settings, common_settings},
    destination::Destination,
    retry::RetryPolicy,
};

const CONCURRENCY: Setting = Setting::new("CONCURRENCY", "64", "Most deliveries being attempted at a time, 1 to 1000.");
const MAX_ATTEMPTS: Setting = Setting::required("MAX_ATTEMPTS", "Most attempts for one delivery, 1 to 100.");
const REQUEST_TIMEOUT: Setting = Setting::required("REQUEST_TIMEOUT", "How long one attempt may take.");
const BACKOFF_INITIAL: Setting = Setting::new(
    "BACKOFF_INITIAL",
    "500ms",
    "The delay after the first failed attempt; it doubles from there, give or take half.",
);
const BACKOFF_MAX: Setting =
    Setting::new("BACKOFF_MAX", "30s", "No delay is longer, not even if the API asks for more by Retry-After.");

/// Deliveries held for each call that may run: some are being reported while others run.
const PREFETCH_FACTOR: u16 = 2;
/// RabbitMQ takes a delivery back that is held for half an hour. Half of that is the limit here,
/// because a delivery also waits for its turn and the broker looks only once a minute.
const LONGEST_HOLD: Duration = Duration::from_secs(15 * 60);

/// What every worker is told.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Most deliveries being attempted at a time.
    pub concurrency: usize,
    /// How a destination is tried.
    pub retry: RetryPolicy,
}

/// Every setting of a worker: those of each process, those of each worker, and its own.
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
    /// Its faults, which `settings` remembers too.
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
            let wanted = format!("must be greater than zero and at most BACKOFF_MAX ({max:?}), is {initial:?}");
            settings.fault(&BACKOFF_INITIAL, wanted);
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
                    "with REQUEST_TIMEOUT and BACKOFF_MAX a delivery could be held for {} s; more than {} s comes too \
                     near to the 30 minutes after which RabbitMQ hands it to another worker: lower one of the three",
                    hold.as_secs(),
                    LONGEST_HOLD.as_secs()
                ),
            ));
        }
        Ok(config)
    }

    /// Deliveries that the broker may have handed out without their settlement.
    #[must_use]
    pub fn prefetch(&self) -> u16 {
        u16::try_from(self.concurrency).unwrap_or(u16::MAX).saturating_mul(PREFETCH_FACTOR)
    }

    /// The longest that a delivery can be held: it waits for its turn behind others that take as
    /// long as they can.
    fn longest_hold(&self) -> Duration {
        self.retry.worst_case().saturating_mul(u32::from(PREFETCH_FACTOR))
    }
}
