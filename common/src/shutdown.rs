//! The end of a process: a first signal starts the drain, a second one ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that was told twice: 128 + SIGTERM, as a shell would report it.
const EXIT_AT_ONCE: i32 = 143;

/// A token that is cancelled by the first SIGTERM or SIGINT. A second signal ends the process at
/// once: what was not settled is delivered again.
///
/// # Errors
/// When the signal handlers cannot be installed.
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
        tracing::warn!(signal = name, "second signal, ending at once; what is unsettled is delivered again");
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok((token, listener))
}
