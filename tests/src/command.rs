//! Commands of the system, run to completion under a deadline.

use std::{ffi::OsStr, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Runs the command and returns what it printed.
///
/// Cancellation safe: the command is killed with the future.
///
/// # Errors
/// It cannot be started, does not end in time, or fails; the text has what it printed.
pub(crate) async fn run(command: &mut Command, deadline: Duration) -> Result<String> {
    let shown = shown(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(deadline, command.output())
        .await
        .with_context(|| format!("`{shown}` was not done after {deadline:?}"))?
        .with_context(|| format!("cannot run `{shown}`"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}{}", output.status, stdout.trim_end(), stderr.trim_end());
    }
    Ok(stdout.trim_end().to_owned())
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
