//! The configuration of the producer.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use common::{
    config::{CommonConfig, Faults, Setting, Settings, common_settings, long_duration, positive_duration},
    destination::Name,
};
use secrecy::ExposeSecret as _;

use store::{Database, PostgresAddress};

const DATABASE_URL: Setting = Setting::new(
    "DATABASE_URL",
    "sqlite://tandem.db",
    "Where orders are stored: sqlite://PATH, a file that is created if absent, for one producer; or \
     postgres://USER:PASSWORD@HOST/DATABASE, for any number of producers (sslmode: disable, prefer or require).",
)
.secret();
const DESTINATIONS: Setting = Setting::new(
    "DESTINATIONS",
    "inventory,fulfillment",
    "The destinations of every order, by name. Each has a queue and a worker.",
);
const INTAKE_QUEUE: Setting = Setting::new(
    "INTAKE_QUEUE",
    "1024",
    "The most requests that may wait for the disk; beyond it, 503 with Retry-After.",
);
const OUTBOX_LIMIT: Setting = Setting::new(
    "OUTBOX_LIMIT",
    "1000000",
    "The most accepted orders that may wait for the broker, or for the queue of one destination; beyond it, 503 with \
     Retry-After.",
);
const DEAD_LETTER_COLLECTOR: Setting = Setting::new(
    "DEAD_LETTER_COLLECTOR",
    "on",
    "on: dead letters are moved from their queues into the database and listed; off: they stay in their queues.",
);
const RECONCILE: Setting = Setting::new(
    "RECONCILE",
    "report",
    "What to do about deliveries that are stuck, pending with no message left that could end them: report lists \
     them, republish also publishes them again under the same keys, off does not search for them.",
);
const RECONCILE_INTERVAL: Setting =
    Setting::new("RECONCILE_INTERVAL", "1m", "The pause between two searches for such deliveries.");
const RECONCILE_AFTER: Setting = Setting::new(
    "RECONCILE_AFTER",
    "15m",
    "How long a published delivery may have neither an outcome nor a message. It must be longer than a worker can \
     hold one: twice all its attempts, timeouts and delays together.",
);
const IDEMPOTENCY_KEY_TTL: Setting = Setting::new(
    "IDEMPOTENCY_KEY_TTL",
    "24h",
    "How long a client's Idempotency-Key is remembered; after that, it counts as a new one.",
);
const IDEMPOTENCY_KEY_REQUIRED: Setting = Setting::new(
    "IDEMPOTENCY_KEY_REQUIRED",
    "false",
    "Whether an order without an Idempotency-Key is refused: true or false.",
);
const WAIT_MAX: Setting = Setting::new(
    "WAIT_MAX",
    "60s",
    "The longest that a client may wait for a result with Prefer: wait; a longer time is reduced to it.",
);
const WAITERS: Setting = Setting::new(
    "WAITERS",
    "10000",
    "The most clients that may wait for a result at a time; beyond it, the response is sent at once.",
);
const EVENT_STREAMS: Setting = Setting::new(
    "EVENT_STREAMS",
    "1000",
    "The most streams of events that may be open at a time; beyond it, 503 with Retry-After.",
);
const RETENTION: Setting = Setting::new(
    "RETENTION",
    "never",
    "The age at which delivered orders are removed, such as 30d, or never. Not shorter than IDEMPOTENCY_KEY_TTL.",
);

/// The configuration of the producer.
#[derive(Debug)]
pub struct Config {
    /// The configuration of every process.
    pub common: CommonConfig,
    /// Where orders are stored.
    pub database: Database,
    /// The destinations of every order.
    pub destinations: Vec<Name>,
    /// The most requests that may wait for the disk.
    pub intake_queue: usize,
    /// The most orders that may wait for the broker.
    pub outbox_limit: u64,
    /// Whether dead letters are moved from their queues into the store.
    pub collector: bool,
    /// How long each destination remembers an idempotency key; without an entry, indefinitely.
    pub key_ttls: BTreeMap<Name, Duration>,
    /// The search for overdue deliveries.
    pub reconcile: Reconcile,
    /// The limits for clients.
    pub clients: Clients,
    /// How long a delivered order is kept; `None` for indefinitely.
    pub retention: Option<Duration>,
}

/// The search for overdue deliveries: pending, with no message left that could end them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// What to do about them.
    pub mode: ReconcileMode,
    /// The pause between two sweeps.
    pub interval: Duration,
    /// When a delivery counts as overdue: longer than any worker can hold one.
    pub after: Duration,
}

/// What to do about overdue deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileMode {
    /// Nothing; they are not searched for.
    Off,
    /// List them.
    Report,
    /// List them and publish them again.
    Republish,
}

/// The limits for clients.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    /// The longest that a client may wait for the result of an order.
    pub wait_max: Duration,
    /// The most clients that may wait at a time.
    pub waiters: usize,
    /// The most streams of events at a time.
    pub event_streams: usize,
    /// How long an idempotency key is remembered.
    pub key_ttl: Duration,
    /// Whether an order without an idempotency key is refused.
    pub key_required: bool,
}

/// Every setting of the producer.
#[must_use]
pub fn settings() -> Vec<Setting> {
    let mut settings = common_settings("127.0.0.1:8080").to_vec();
    settings.extend([
        DATABASE_URL,
        DESTINATIONS,
        INTAKE_QUEUE,
        OUTBOX_LIMIT,
        DEAD_LETTER_COLLECTOR,
        RECONCILE,
        RECONCILE_INTERVAL,
        RECONCILE_AFTER,
        IDEMPOTENCY_KEY_TTL,
        IDEMPOTENCY_KEY_REQUIRED,
        WAIT_MAX,
        WAITERS,
        EVENT_STREAMS,
        RETENTION,
    ]);
    settings
}

impl Config {
    /// Reads the settings that [`settings`] lists.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn read(mut settings: Settings) -> Result<Self, Faults> {
        let common = CommonConfig::read(&mut settings);
        let database_url = settings.secret(&DATABASE_URL);
        let database = database_url
            .and_then(|url| database(url.expose_secret()).map_err(|detail| settings.fault(&DATABASE_URL, detail)));
        let destinations = settings.parsed(&DESTINATIONS, destinations);
        let intake_queue = settings.number(&INTAKE_QUEUE, 1..=1_000_000_usize);
        let outbox_limit = settings.number(&OUTBOX_LIMIT, 1..=u64::from(u32::MAX));
        let collector = settings.parsed(&DEAD_LETTER_COLLECTOR, switch);
        let key_ttls = key_ttls(&mut settings, destinations.as_deref().unwrap_or_default());
        let mode = settings.parsed(&RECONCILE, |text| match text {
            "off" => Ok(ReconcileMode::Off),
            "report" => Ok(ReconcileMode::Report),
            "republish" => Ok(ReconcileMode::Republish),
            _ => Err("must be report, republish or off".to_owned()),
        });
        let interval = settings.duration(&RECONCILE_INTERVAL);
        let after = settings.duration(&RECONCILE_AFTER);
        for (setting, given) in [(&RECONCILE_INTERVAL, &interval), (&RECONCILE_AFTER, &after)] {
            if *given == Ok(Duration::ZERO) {
                settings.fault(setting, "must be greater than zero");
            }
        }
        let key_ttl = settings.parsed(&IDEMPOTENCY_KEY_TTL, positive_duration);
        let key_required = settings.parsed(&IDEMPOTENCY_KEY_REQUIRED, |text| {
            text.parse().map_err(|_| format!("must be true or false, is {text:?}"))
        });
        let wait_max = settings.duration(&WAIT_MAX);
        let waiters = settings.number(&WAITERS, 0..=1_000_000_usize);
        let event_streams = settings.number(&EVENT_STREAMS, 0..=1_000_000_usize);
        let retention = settings.parsed(&RETENTION, retention);
        if let (Ok(key_ttl), Ok(Some(retention))) = (&key_ttl, &retention)
            && retention < key_ttl
        {
            settings
                .fault(&RETENTION, "must not be shorter than IDEMPOTENCY_KEY_TTL: a remembered key needs its order");
        }
        settings.finish()?;
        Ok(Self {
            common: common()?,
            database: database?,
            destinations: destinations?,
            intake_queue: intake_queue?,
            outbox_limit: outbox_limit?,
            collector: collector?,
            key_ttls: key_ttls?,
            reconcile: Reconcile { mode: mode?, interval: interval?, after: after? },
            clients: Clients {
                wait_max: wait_max?,
                waiters: waiters?,
                event_streams: event_streams?,
                key_ttl: key_ttl?,
                key_required: key_required?,
            },
            retention: retention?,
        })
    }
}

/// `NAME_KEY_TTL` for each destination.
fn key_ttls(settings: &mut Settings, destinations: &[Name]) -> Result<BTreeMap<Name, Duration>, Faults> {
    let mut ttls = BTreeMap::new();
    for destination in destinations {
        if let Some(ttl) = settings.named(&key_ttl_variable(destination), long_duration)? {
            ttls.insert(destination.clone(), ttl);
        }
    }
    Ok(ttls)
}

/// The variable for how long a destination remembers a key.
fn key_ttl_variable(destination: &Name) -> String {
    format!("{}_KEY_TTL", destination.as_str().to_ascii_uppercase().replace('-', "_"))
}

/// The URL may contain a password, so no error repeats it.
fn database(url: &str) -> Result<Database, String> {
    match url.split_once("://") {
        Some(("sqlite", path)) if !path.is_empty() && !path.contains(['?', '#']) && path != ":memory:" => {
            Ok(Database::Sqlite(PathBuf::from(path)))
        }
        Some(("sqlite", _)) => {
            Err("must name a file, such as sqlite://orders.db or sqlite:///var/lib/tandem/orders.db".to_owned())
        }
        Some(("postgres" | "postgresql", _)) => PostgresAddress::parse(url).map(Database::Postgres),
        _ => Err("must be sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE".to_owned()),
    }
}

fn retention(text: &str) -> Result<Option<Duration>, String> {
    if text == "never" {
        return Ok(None);
    }
    positive_duration(text).map(Some).map_err(|detail| format!("{detail}; or never"))
}

fn destinations(text: &str) -> Result<Vec<Name>, String> {
    const MOST: usize = 32;
    let names: Result<Vec<Name>, _> = text.split(',').map(|name| name.trim().parse()).collect();
    let Some(names) = names.ok().filter(|names| names.len() <= MOST) else {
        return Err(format!(
            "must be 1 to {MOST} names of lower-case letters, digits and '-', separated by commas; \
             outcomes and dlx are reserved for the broker's topology"
        ));
    };
    if let Some(twice) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        return Err(format!("{} is listed twice", twice.1));
    }
    Ok(names)
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_a_file_or_a_server() {
        assert_eq!(database("sqlite://a.db"), Ok(Database::Sqlite("a.db".into())));
        assert_eq!(database("sqlite:///var/a.db"), Ok(Database::Sqlite("/var/a.db".into())));
        assert!(matches!(database("postgres://u:p@h/d"), Ok(Database::Postgres(_))));
        for bad in ["sqlite://", "sqlite://:memory:", "a.db", "", "mysql://x", "postgres://u:hush@h"] {
            let Err(fault) = database(bad) else { panic!("{bad} was accepted") };
            assert!(!fault.contains("hush"));
        }
    }

    #[test]
    fn a_switch_is_on_or_off() {
        assert_eq!((switch("on"), switch("off")), (Ok(true), Ok(false)));
        assert!(["", "true", "On", "1"].iter().all(|bad| switch(bad).is_err()));
    }

    #[test]
    fn the_variable_of_a_destination_is_its_name_in_capitals() {
        assert_eq!(key_ttl_variable(&"south-2".parse().unwrap()), "SOUTH_2_KEY_TTL");
    }

    #[test]
    fn destinations_are_distinct_names() {
        assert_eq!(destinations("north, south-2"), Ok(vec!["north".parse().unwrap(), "south-2".parse().unwrap()]));
        for bad in ["", "a,,b", "A", "a b", "a,a", "outcomes", "dlx", "a.b"] {
            assert!(destinations(bad).is_err(), "{bad}");
        }
    }
}
