//! A child process that cannot outlive this one, even if this one gets SIGKILL.
//!
//! The child starts as a shell that waits for a line from us. It gets the line once the [`watcher`] knows the child, and
//! then becomes the program. So this process cannot die at a moment that leaves the child behind, and the child's pid,
//! exit status and signals are those of the program.

mod watcher;

use std::{
    ffi::OsStr,
    fmt,
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::sync::watch;

pub use self::watcher::OnExit;

const SCRIPT: &str = r#"read -r _ && exec "$@" </dev/null"#;
/// How long a program may take to end after another signal before it gets SIGKILL.
const END_DEADLINE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// The signals the harness sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ends the process immediately.
    Kill,
    /// Asks the process to end.
    Terminate,
    /// What Ctrl-C sends.
    Interrupt,
    /// Asks the process to end without finishing its work.
    Quit,
    /// Freezes the process.
    Stop,
    /// Thaws it.
    Continue,
}

/// A program to be started on a leash. Add arguments and environment to [`LeashedCommand::program`].
#[derive(Debug)]
pub struct LeashedCommand {
    command: Command,
    end: Signal,
}

/// A running program on its leash; dropping it ends the program.
pub struct Leashed {
    pid: u32,
    end: Signal,
    exit: watch::Receiver<Option<ExitStatus>>,
    reaper: Option<JoinHandle<()>>,
}

/// The output of a leashed program.
#[derive(Debug)]
pub struct Output {
    /// What it writes to standard output.
    pub stdout: ChildStdout,
    /// What it writes to standard error.
    pub stderr: ChildStderr,
}

impl LeashedCommand {
    /// This program, with nothing in its environment but `PATH`.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(SCRIPT).arg("sh").arg(program);
        command.env_clear().env("PATH", path());
        // Its own process group: Ctrl-C in a terminal is meant for this process, which ends the child.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, end: Signal::Kill }
    }

    /// Ends it by this signal, and by SIGKILL only after five seconds: for a program that leaves something behind when
    /// it is killed.
    #[must_use]
    pub fn ended_by(mut self, signal: Signal) -> Self {
        self.end = signal;
        self
    }

    /// The command, to add arguments, environment and a working directory to.
    pub fn program(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts it.
    ///
    /// # Errors
    /// There is no shell, or no process can be made. A missing program shows as exit status 127.
    pub fn spawn(mut self) -> Result<(Leashed, Output)> {
        let mut child = self.command.spawn().context("cannot start /bin/sh")?;
        let pid = child.id();
        let (Some(mut line), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            bail!("the child has no pipes");
        };
        let (exited, exit) = watch::channel(None);
        let reaper = thread::Builder::new()
            .name(format!("reaper-{pid}"))
            .spawn(move || reap(child, &exited))
            .context("cannot start a thread")?;
        // Without the line, the end of the pipe ends the child.
        watcher::hold(pid, self.end)?;
        line.write_all(b"\n").context("the child ended before it began")?;
        Ok((Leashed { pid, end: self.end, exit, reaper: Some(reaper) }, Output { stdout, stderr }))
    }
}

impl Leashed {
    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for its end. Cancellation safe.
    ///
    /// # Errors
    /// The program could not be waited for.
    pub async fn exited(&self) -> Result<ExitStatus> {
        let mut exit = self.exit.clone();
        let status = exit.wait_for(Option::is_some).await.context("the program could not be waited for")?;
        status.context("the program could not be waited for")
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The program has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(status) = self.exit_status() {
            bail!("process {} has ended already ({status})", self.pid);
        }
        let sent = Command::new("/bin/sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal.name(), &self.pid.to_string()])
            .stdin(Stdio::null())
            .output()
            .context("cannot run /bin/sh")?;
        if !sent.status.success() {
            bail!("cannot signal process {}: {}", self.pid, String::from_utf8_lossy(&sent.stderr).trim_end());
        }
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// The program had ended already.
    pub async fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::Kill)?;
        self.exited().await
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        // It may have ended at this moment, which is as good.
        let _ = self.signal(self.end);
        if self.end != Signal::Kill {
            let end = Instant::now() + END_DEADLINE;
            while self.exit_status().is_none() && Instant::now() < end {
                thread::sleep(PAUSE);
            }
            let _ = self.signal(Signal::Kill);
        }
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
    }
}

impl fmt::Debug for Leashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leashed").field("pid", &self.pid).field("exit_status", &self.exit_status()).finish()
    }
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

fn reap(mut child: Child, exited: &watch::Sender<Option<ExitStatus>>) {
    let status = child.wait();
    watcher::release(child.id());
    exited.send_replace(status.ok());
}

/// `PATH`, or the usual directories.
pub(crate) fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}
