//! Shutdown: the first signal starts the drain, a second one ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal: 128 + SIGTERM, as a shell would report it.
const EXIT_AT_ONCE: i32 = 143;

/// A token that the first SIGTERM or SIGINT cancels. A second signal ends the process at once; what was
/// not settled is delivered again.
///
/// # Errors
/// The signal handlers cannot be installed.
pub fn on_signal() -> std::io::Result<(CancellationToken, tokio::task::JoinHandle<()>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    let listener = tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        tracing::info!(signal = name, "draining; a second signal ends at once");
        stop.cancel();
        let name = next().await;
        tracing::warn!(signal = name, "second signal, ending at once; unsettled deliveries are delivered again");
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok((token, listener))
}
