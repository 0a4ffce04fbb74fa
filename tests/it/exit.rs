//! How a process exited, and its whole output.

use anyhow::{Result, anyhow};
use tests::{log::Line, process::Process, waiting::PATIENCE};

/// A process that has exited.
pub(crate) struct Exit {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Every line that it wrote.
    pub(crate) lines: Vec<Line>,
}

impl Exit {
    /// Waits for the exit.
    pub(crate) async fn of(process: &Process) -> Result<Self> {
        let code = process.wait_exit().await?.code();
        // The last lines may still be in the pipe: a search that finds nothing reads to its end.
        match process.log().wait_for("nothing", PATIENCE, |_| false).await {
            Err(fault) if fault.to_string().starts_with("the process ended") => {}
            other => return Err(anyhow!("the log of {} does not end: {other:?}", process.name())),
        }
        Ok(Self { code, lines: process.log().lines() })
    }

    /// All lines, as one text.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// Whether a line has this message.
    pub(crate) fn says(&self, message: &str) -> bool {
        self.lines.iter().any(|line| line.says(message))
    }
}
