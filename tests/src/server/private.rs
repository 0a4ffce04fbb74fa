//! A server of the installed software, on loopback and free ports, with its own data, which ends with its owner.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, anyhow, bail};

use super::{Directory, Software};
use crate::{
    leash::{Leashed, Signal},
    lock::lock,
    log::Log,
    usage::Usage,
    waiting::{self, PATIENCE},
};

/// How often to try other ports, if another process took one in the meantime.
const TRIES: usize = 5;
/// What a server prints, in lower case, if a port is taken.
const TAKEN: [&str; 5] = ["eaddrinuse", "already in use", "could not bind", "already running", "epmd error"];

/// A running server. Dropping it ends it and removes its data; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct Private<S: Software> {
    running: Mutex<Option<Arc<Running>>>,
    pub(crate) software: S,
    pub(crate) installation: S::Installation,
    pub(crate) directory: Directory,
}

#[derive(Debug)]
struct Running {
    process: Leashed,
    log: Log,
}

impl<S: Software> Private<S> {
    /// Starts one with its data in a new directory. Returns when it accepts connections.
    ///
    /// Cancellation safe: what was started so far ends.
    ///
    /// # Errors
    /// It does not start; the text has what it printed.
    pub async fn start(mut installation: S::Installation, options: S::Options) -> Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            // Complete from here on, so that an early return cleans up.
            let mut private = Self {
                running: Mutex::new(None),
                software: S::choose(options)?,
                installation,
                directory: Directory::make(S::NAME, S::user()?)?,
            };
            let started = async {
                private.software.prepare(&private.installation, &private.directory).await?;
                private.boot().await?;
                private.software.set_up().await
            };
            let Err(fault) = started.await else { return Ok(private) };
            let text = format!("{fault:#}").to_lowercase();
            if tries == TRIES || !TAKEN.iter().any(|sign| text.contains(sign)) {
                return Err(fault.context(format!("the private {} does not start", S::NAME)));
            }
            installation = private.installation;
        }
    }

    /// Where to connect, with all rights.
    #[must_use]
    pub fn url(&self) -> String {
        self.software.url()
    }

    /// Its data, settings and logs, which exist as long as the server.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The id of its first process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.current().ok().map(|running| running.process.pid())
    }

    /// What it has used since its last start.
    ///
    /// # Errors
    /// It does not run.
    pub fn usage(&self) -> Result<Usage> {
        S::usage(self.current()?.process.pid())
    }

    /// The end of what it printed since its last start.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        lock(&self.running).as_ref().map(|running| running.log.tail(lines)).unwrap_or_default()
    }

    /// Sends this signal, and waits until the server is gone; its data stays.
    pub(super) async fn end(&self, signal: Signal) -> Result<()> {
        let running = self.current()?;
        running.process.signal(signal)?;
        let seen = || format!("\n{}", running.log.tail(20));
        waiting::within(&format!("{} to end", S::NAME), PATIENCE, running.process.exited(), seen).await??;
        Ok(())
    }

    pub(super) async fn start_again(&self) -> Result<()> {
        if self.current().is_ok() {
            bail!("{} runs already", S::NAME);
        }
        self.boot().await.with_context(|| format!("the private {} does not start again", S::NAME))
    }

    fn current(&self) -> Result<Arc<Running>> {
        let running = lock(&self.running).clone().filter(|running| running.process.exit_status().is_none());
        running.ok_or_else(|| anyhow!("{} does not run", S::NAME))
    }

    async fn boot(&self) -> Result<()> {
        let mut command = self.software.command(&self.installation, &self.directory);
        self.directory.settle(command.program());
        let (process, output) = command.spawn()?;
        let running = Arc::new(Running { process, log: Log::capture(output)? });
        *lock(&self.running) = Some(Arc::clone(&running));
        let up = |line: &crate::log::Line| S::UP.iter().any(|sign| line.text.contains(sign));
        running.log.wait_for(&format!("that {} is up", S::NAME), PATIENCE, up).await?;
        self.software.connect().await.with_context(|| format!("{} says it is up, but accepts no connection", S::NAME))
    }
}
