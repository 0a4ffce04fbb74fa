//! Ctrl-C: ends the work where it stands, and with it everything that it started.

use std::{io::Write as _, process::ExitCode};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Runs `work` to its end, or until a signal; then drops it, which ends what it started, and returns the exit code
/// that a shell expects: 128 and the signal's number.
///
/// # Errors
/// Those of `work`.
pub(crate) async fn or(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let (code, name) = tokio::select! {
        biased;
        signal = received() => signal?,
        done = work => return done,
    };
    // Where a terminal has echoed ^C, on a line of its own.
    let _ = writeln!(std::io::stdout(), "\n{name}: stopped, with everything that was started here");
    Ok(ExitCode::from(code))
}

async fn received() -> Result<(u8, &'static str)> {
    let install = |kind| signal(kind).context("cannot watch for signals");
    let mut interrupt = install(SignalKind::interrupt())?;
    let mut terminate = install(SignalKind::terminate())?;
    let mut hangup = install(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => (130, "interrupted"),
        _ = terminate.recv() => (143, "terminated"),
        _ = hangup.recv() => (129, "hung up"),
    })
}
