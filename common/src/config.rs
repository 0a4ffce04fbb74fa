//! Configuration: environment variables, each of which is also a flag, read once at the start.
//!
//! A binary lists its [`Setting`]s in a table, from which the flags, the help text and the documentation
//! are made. Reading collects every fault before it reports any.

mod duration;
mod fault;
mod settings;
mod table;

pub use duration::{long_duration, positive_duration};
pub use fault::{Fault, Faults};
pub use settings::{Command, Settings, Source};
pub use table::{Setting, markdown_table};

use std::{net::SocketAddr, time::Duration};

use secrecy::SecretString;

const AMQP_URL: Setting = Setting::new(
    "AMQP_URL",
    "amqp://guest:guest@127.0.0.1:5672/%2f",
    "The address of RabbitMQ: amqp:// or amqps://, user, password, host, port, virtual host.",
)
.secret();
const EXCHANGE: Setting =
    Setting::new("EXCHANGE", "orders", "The fan-out exchange. The names of all queues derive from it.");
const HTTP_ADDR: Setting = Setting::required(
    "HTTP_ADDR",
    "The address on which this process serves HTTP: health and metrics, and the producer its API.",
);
const LOG_FORMAT: Setting = Setting::new("LOG_FORMAT", "text", "The format of the logs: text or json.");
const LOG_LEVEL: Setting =
    Setting::new("LOG_LEVEL", "info", "What is logged: a level, or directives such as info,common=debug.");
const SHUTDOWN_GRACE: Setting = Setting::new(
    "SHUTDOWN_GRACE",
    "25s",
    "How long a drain may take after SIGTERM. What is unfinished by then is delivered again.",
);

/// The settings of every process, which differ in the default of the address only.
#[must_use]
pub const fn common_settings(http_addr: &'static str) -> [Setting; 6] {
    [AMQP_URL, EXCHANGE, HTTP_ADDR.or(http_addr), LOG_FORMAT, LOG_LEVEL, SHUTDOWN_GRACE]
}

/// The configuration of every process.
#[derive(Debug)]
pub struct CommonConfig {
    /// Where the broker is, credentials included.
    pub amqp_url: SecretString,
    /// The fan-out exchange; every other name on the broker derives from it.
    pub exchange: String,
    /// Where this process serves health and metrics, and the producer its API.
    pub http_addr: SocketAddr,
    /// The format of the logs.
    pub log_format: LogFormat,
    /// Which logs are written, in the syntax of `tracing`'s filter directives.
    pub log_level: String,
    /// How long a drain may take.
    pub shutdown_grace: Duration,
}

/// The format of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text, for people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

impl CommonConfig {
    /// Reads the settings that [`common_settings`] lists.
    ///
    /// # Errors
    /// The returned function reports the same [`Faults`] as [`Settings::finish`]; call it after that.
    pub fn read(settings: &mut Settings) -> impl FnOnce() -> Result<Self, Faults> + use<> {
        let amqp_url = settings.secret(&AMQP_URL);
        let exchange = settings.parsed(&EXCHANGE, exchange_name);
        let http_addr = settings.parsed(&HTTP_ADDR, |text| {
            text.parse().map_err(|_| "must be an address and port such as 127.0.0.1:8080".to_owned())
        });
        let log_format = settings.parsed(&LOG_FORMAT, |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be text or json".to_owned()),
        });
        let log_level = settings.parsed(&LOG_LEVEL, log_level);
        let shutdown_grace = settings.duration(&SHUTDOWN_GRACE);
        if let Ok(url) = &amqp_url
            && let Err(detail) = crate::broker::check_url(url)
        {
            settings.fault(&AMQP_URL, detail);
        }
        move || {
            Ok(Self {
                amqp_url: amqp_url?,
                exchange: exchange?,
                http_addr: http_addr?,
                log_format: log_format?,
                log_level: log_level?,
                shutdown_grace: shutdown_grace?,
            })
        }
    }
}

/// `tracing` would take a bare word that is not a level for the name of a module, and silence everything.
fn log_level(text: &str) -> Result<String, String> {
    let expected = "must be off, error, warn, info, debug or trace, or directives such as info,common=debug";
    let level = |word: &str| matches!(word, "off" | "error" | "warn" | "info" | "debug" | "trace");
    let directive =
        |part: &str| level(part.split_once('=').map_or(part, |(_, word)| word).to_ascii_lowercase().as_str());
    let spaced = text.split(',').any(|part| part.trim().contains(char::is_whitespace));
    let parses = !spaced && text.parse::<tracing_subscriber::filter::Targets>().is_ok();
    if parses && text.split(',').map(str::trim).all(directive) { Ok(text.to_owned()) } else { Err(expected.to_owned()) }
}

/// The longest name that leaves room for the suffixes of the queues in an AMQP short string (255 bytes).
const MAX_EXCHANGE_BYTES: usize = 120;

fn exchange_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= MAX_EXCHANGE_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if fits && !text.starts_with("amq.") {
        Ok(text.to_owned())
    } else {
        Err(format!("must be at most {MAX_EXCHANGE_BYTES} letters, digits, '-', '_' or '.', and not start with amq."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_level_is_a_level_or_directives() {
        for good in ["info", "DEBUG", "off", "info,common=debug", "warn, producer::relay=trace"] {
            assert!(log_level(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "", "info,", "common", "common=loud", "info common=debug"] {
            assert!(log_level(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_of_the_exchange_leaves_room_for_the_suffixes_of_queues() {
        assert!(exchange_name("orders").is_ok());
        assert!(exchange_name(&"x".repeat(120)).is_ok());
        for bad in [&"x".repeat(121), "amq.orders", "a b", "ä"] {
            assert!(exchange_name(bad).is_err(), "{bad}");
        }
    }
}
