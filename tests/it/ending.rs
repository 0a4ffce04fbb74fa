//! How a process ended, and all that it said.

use anyhow::{Result, anyhow};
use tests::{log::Line, process::Process, waiting::PATIENCE};

/// A process that has ended.
pub(crate) struct Ending {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Every line that it wrote.
    pub(crate) lines: Vec<Line>,
}

impl Ending {
    /// Waits for it.
    pub(crate) async fn of(process: &Process) -> Result<Self> {
        let code = process.wait_exit().await?.code();
        // Its last words may still be in the pipe: a search that finds nothing goes to the end of it.
        match process.log().wait_for("nothing", PATIENCE, |_| false).await {
            Err(fault) if fault.to_string().starts_with("the process ended") => {}
            other => return Err(anyhow!("the log of {} does not end: {other:?}", process.name())),
        }
        Ok(Self { code, lines: process.log().lines() })
    }

    /// All that it said, as one text.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// Whether one of its lines has this message.
    pub(crate) fn says(&self, message: &str) -> bool {
        self.lines.iter().any(|line| line.says(message))
    }
}
