//! A process of one of the binaries.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    ops::ControlFlow,
    path::PathBuf,
    process::ExitStatus,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    http,
    leash::{Leashed, LeashedCommand, Signal},
    log::{Line, Log, Mark},
    metrics::Metrics,
    usage::{self, Usage},
    waiting::{self, PATIENCE},
};

/// Becomes the program, with the soft limit on open files that is usual.
const USUAL_LIMITS: &str = r#"ulimit -S -n 1024; exec "$0" "$@""#;

/// A program with its environment, to be started.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    directory: Option<PathBuf>,
}

/// A running program. Dropping it kills it; so does the end of this process. On a panic, dropping prints its last lines.
#[derive(Debug)]
pub struct Process {
    name: String,
    leashed: Leashed,
    log: Log,
    http: reqwest::Client,
    /// Read once, because only the end of a long log is kept.
    http_addr: OnceCell<SocketAddr>,
}

/// The response of `/readyz`.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// 200 or 503.
    pub status: u16,
    /// The body, with the reasons.
    pub body: Value,
}

impl Program {
    /// This program, with nothing in its environment but `PATH`, JSON logs, and 1,024 open files at first.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let environment = vec![("LOG_FORMAT".to_owned(), "json".into())];
        Self { path: path.into(), arguments: Vec::new(), environment, directory: None }
    }

    /// Adds a variable; the last of a name counts.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Adds variables; the last of a name counts.
    #[must_use]
    pub fn envs<V: AsRef<OsStr>>(self, variables: impl IntoIterator<Item = (String, V)>) -> Self {
        variables.into_iter().fold(self, |program, (name, value)| program.env(&name, value))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Its working directory, instead of the test's.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts it, and waits for nothing.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(&self) -> Result<Process> {
        if !self.path.is_file() {
            bail!("there is no program {}", self.path.display());
        }
        let mut command = LeashedCommand::new("/bin/sh");
        command.program().args(["-c", USUAL_LIMITS]).arg(&self.path).args(&self.arguments);
        for (name, value) in &self.environment {
            command.program().env(name, value);
        }
        if let Some(directory) = &self.directory {
            command.program().current_dir(directory);
        }
        let (leashed, output) = command.spawn()?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Process { name, leashed, log: Log::capture(output)?, http: http::client()?, http_addr: OnceCell::new() })
    }
}

impl Process {
    /// The name of its binary.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.leashed.pid()
    }

    /// What it has written.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The address in its `listening` line; waits for that.
    ///
    /// # Errors
    /// It ended, or logged no such line in time.
    pub async fn http_addr(&self) -> Result<SocketAddr> {
        let read = async || {
            let line = self.wait_for_log("listening", |line| line.says("listening")).await?;
            let address = line.field("http_addr").context("the line `listening` has no http_addr")?;
            address.parse().with_context(|| format!("http_addr {address} is no address"))
        };
        self.http_addr.get_or_try_init(read).await.copied()
    }

    /// Its base URL, without a slash at the end; waits for its `listening` line.
    ///
    /// # Errors
    /// As [`Process::http_addr`].
    pub async fn url(&self) -> Result<String> {
        Ok(format!("http://{}", self.http_addr().await?))
    }

    /// Waits until every component of it is up. A producer accepts orders, and `/readyz` is 200, before that.
    ///
    /// # Errors
    /// It ended, or is not ready in time; the text has its reasons.
    pub async fn ready(&self) -> Result<()> {
        self.wait_for_readiness("ready", |readiness| readiness.body["status"] == "ready").await.map(drop)
    }

    /// Waits until the response of `/readyz` is as wanted.
    ///
    /// # Errors
    /// It ended, or is not in time; the text has the last response.
    pub async fn wait_for_readiness(&self, what: &str, wanted: impl Fn(&Readiness) -> bool) -> Result<Readiness> {
        self.http_addr().await?;
        let asked = async || {
            if let Some(status) = self.exit_status() {
                return ControlFlow::Break(Err(status));
            }
            match self.readyz().await {
                Ok(readiness) if wanted(&readiness) => ControlFlow::Break(Ok(readiness)),
                Ok(readiness) => ControlFlow::Continue(format!("{} {}", readiness.status, readiness.body)),
                Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
            }
        };
        let name = &self.name;
        match waiting::until(&format!("{name} to be {what}"), PATIENCE, asked).await? {
            Ok(readiness) => Ok(readiness),
            Err(status) => bail!("{name} ended ({status}) instead of being {what}:\n{}", self.log.tail(20)),
        }
    }

    /// `GET /readyz`.
    ///
    /// # Errors
    /// It does not respond.
    pub async fn readyz(&self) -> Result<Readiness> {
        let response = self.get("/readyz").await?;
        let status = response.status().as_u16();
        Ok(Readiness { status, body: response.json().await? })
    }

    /// `GET /livez`: the status.
    ///
    /// # Errors
    /// It does not respond.
    pub async fn livez(&self) -> Result<u16> {
        Ok(self.get("/livez").await?.status().as_u16())
    }

    /// `GET /metrics`.
    ///
    /// # Errors
    /// It does not respond.
    pub async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.get("/metrics").await?.error_for_status()?.text().await?))
    }

    /// Waits until the sum of the samples of this name with these labels is as wanted.
    ///
    /// # Errors
    /// There is no such sample, or its value is another one all the time.
    pub async fn wait_for_metric(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        wanted: impl Fn(f64) -> bool,
    ) -> Result<()> {
        let asked = async || match self.metrics().await {
            Ok(metrics) if !metrics.has(name, labels) => ControlFlow::Continue("no such sample".to_owned()),
            Ok(metrics) if wanted(metrics.sum(name, labels)) => ControlFlow::Break(()),
            Ok(metrics) => ControlFlow::Continue(metrics.sum(name, labels).to_string()),
            Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
        };
        waiting::until(&format!("{name} {labels:?} of {}", self.name), PATIENCE, asked).await
    }

    /// `GET` of this path.
    ///
    /// # Errors
    /// It does not respond.
    pub async fn get(&self, path: &str) -> Result<reqwest::Response> {
        let url = format!("{}{path}", self.url().await?);
        self.http.get(&url).send().await.with_context(|| format!("{}: GET {url}", self.name))
    }

    /// Waits for a log line, among those written so far or later.
    ///
    /// # Errors
    /// It ended without it, or it did not come in time.
    pub async fn wait_for_log(&self, what: &str, wanted: impl Fn(&Line) -> bool) -> Result<Line> {
        self.wait_for_log_after(Mark::default(), what, wanted).await
    }

    /// Waits for a log line after the mark (see [`Log::mark`]).
    ///
    /// # Errors
    /// As [`Process::wait_for_log`].
    pub async fn wait_for_log_after(&self, mark: Mark, what: &str, wanted: impl Fn(&Line) -> bool) -> Result<Line> {
        let line = self.log.wait_for_after(mark, what, PATIENCE, wanted).await;
        line.with_context(|| format!("{} ({})", self.name, self.pid()))
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// It had ended already.
    pub async fn kill9(&self) -> Result<ExitStatus> {
        self.leashed.kill().await
    }

    /// SIGTERM; does not wait.
    ///
    /// # Errors
    /// It has ended already.
    pub fn terminate(&self) -> Result<()> {
        self.leashed.signal(Signal::Terminate)
    }

    /// SIGSTOP: freezes it.
    ///
    /// # Errors
    /// It has ended already.
    pub fn stop(&self) -> Result<()> {
        self.leashed.signal(Signal::Stop)
    }

    /// SIGCONT: thaws it.
    ///
    /// # Errors
    /// It has ended already.
    pub fn cont(&self) -> Result<()> {
        self.leashed.signal(Signal::Continue)
    }

    /// Sends any signal.
    ///
    /// # Errors
    /// It has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.leashed.signal(signal)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn wait_exit(&self) -> Result<ExitStatus> {
        let seen = || format!("\n{}", self.log.tail(20));
        waiting::within(&format!("the end of {}", self.name), PATIENCE, self.leashed.exited(), seen).await?
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.leashed.exit_status()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> Result<Usage> {
        usage::of(self.pid())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_tail();
        }
    }
}

impl Process {
    /// Prints its last lines to standard error.
    pub fn print_tail(&self) {
        let state = self.exit_status().map_or("running".to_owned(), |status| status.to_string());
        eprintln!("--- {} ({}, {state}) wrote last:\n{}", self.name, self.pid(), self.log.tail(40));
    }
}
