//! The output of a process: lines kept, and lines to wait for.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::sync::watch;

use crate::{leash::Output, lock::lock, waiting::within};

/// How many lines are kept, the newest.
const KEPT: usize = 50_000;

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// The text, without the line feed.
    pub text: String,
    /// Its fields, if it is a JSON object.
    pub json: Option<Value>,
}

/// What a process has written to standard output and standard error. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Mutex<Lines>>,
    changes: watch::Receiver<()>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Line>,
    dropped: usize,
}

/// A position in a log, behind the lines written so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(usize);

impl Log {
    /// Reads both streams to their end, in separate threads.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn capture(output: Output) -> Result<Self> {
        let lines = Arc::new(Mutex::new(Lines::default()));
        let (changed, changes) = watch::channel(());
        let changed = Arc::new(changed);
        read(output.stdout, Arc::clone(&lines), Arc::clone(&changed))?;
        read(output.stderr, Arc::clone(&lines), changed)?;
        Ok(Self { lines, changes })
    }

    /// The position behind the last line.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let lines = lock(&self.lines);
        Mark(lines.dropped + lines.kept.len())
    }

    /// All lines kept.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        lock(&self.lines).kept.iter().cloned().collect()
    }

    /// The last lines, as one text.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let lines = lock(&self.lines);
        let start = lines.kept.len().saturating_sub(count);
        lines.kept.range(start..).map(|line| format!("  {}\n", line.text)).collect()
    }

    /// Waits for a line, which may have been written already.
    ///
    /// # Errors
    /// The process closed its output without it, or the deadline passed; the text has the log's tail.
    pub async fn wait_for(&self, what: &str, deadline: Duration, wanted: impl Fn(&Line) -> bool) -> Result<Line> {
        self.wait_for_after(Mark::default(), what, deadline, wanted).await
    }

    /// Waits for a line after the mark.
    ///
    /// # Errors
    /// As [`Log::wait_for`].
    pub async fn wait_for_after(
        &self,
        mark: Mark,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Line) -> bool,
    ) -> Result<Line> {
        let mut changes = self.changes.clone();
        let mut next = mark.0;
        let search = async {
            loop {
                // Checked before the search, so that everything written before the end is searched.
                let open = changes.has_changed().is_ok();
                changes.mark_unchanged();
                if let Some(found) = self.search(&mut next, &wanted) {
                    return Some(found);
                }
                if !open {
                    return None;
                }
                // An error is the end of both streams: one last search.
                let _ = changes.changed().await;
            }
        };
        match within(&format!("log line: {what}"), deadline, search, || format!("\n{}", self.tail(30))).await? {
            Some(line) => Ok(line),
            None => bail!("the process ended without log line: {what}; its last lines:\n{}", self.tail(30)),
        }
    }

    fn search(&self, next: &mut usize, wanted: impl Fn(&Line) -> bool) -> Option<Line> {
        let lines = lock(&self.lines);
        let start = next.saturating_sub(lines.dropped).min(lines.kept.len());
        let found = lines.kept.range(start..).find(|line| wanted(line)).cloned();
        *next = lines.dropped + lines.kept.len();
        found
    }
}

impl Line {
    /// The text of a field of a JSON line.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.json.as_ref()?.get(name)?.as_str()
    }

    /// Whether this is the JSON line with this `message`.
    #[must_use]
    pub fn says(&self, message: &str) -> bool {
        self.field("message") == Some(message)
    }
}

fn read(from: impl Read + Send + 'static, lines: Arc<Mutex<Lines>>, changed: Arc<watch::Sender<()>>) -> Result<()> {
    let run = move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while matches!(from.read_until(b'\n', &mut bytes), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            let json = text.starts_with('{').then(|| serde_json::from_str(&text).ok()).flatten();
            bytes.clear();
            {
                let mut lines = lock(&lines);
                lines.kept.push_back(Line { text, json });
                if lines.kept.len() > KEPT {
                    lines.kept.pop_front();
                    lines.dropped += 1;
                }
            }
            changed.send_replace(());
        }
    };
    thread::Builder::new().name("log".to_owned()).spawn(run).context("cannot start a thread")?;
    Ok(())
}
