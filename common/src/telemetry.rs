//! Logs and metrics.

pub mod metrics;

use std::io::IsTerminal as _;

use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::LogFormat;

/// Installs the log subscriber, which writes to standard output.
///
/// Called once, by `main`. The configuration has checked `level`; if it does not parse nevertheless,
/// `info` is used.
pub fn init(format: LogFormat, level: &str) {
    let filter = level.parse::<Targets>().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer();
    // A second call in the same process (a test) is harmless: the first subscriber stays.
    let _ = match format {
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stdout().is_terminal())).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_current_span(false)).try_init(),
    };
}
