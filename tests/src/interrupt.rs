//! Ctrl-C: ends the work and everything that it started.

use std::{io::Write as _, process::ExitCode};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Runs `work` to its end, or until a signal; then drops it, which ends what it started, and returns the exit code
/// that a shell expects: 128 plus the number of the signal.
///
/// # Errors
/// Those of `work`.
pub async fn or(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let (code, name) = tokio::select! {
        biased;
        signal = received() => signal?,
        done = work => return done,
    };
    // A line feed first: a terminal has echoed ^C.
    let _ = writeln!(std::io::stdout(), "\n{name}: everything that was started here has been stopped");
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
