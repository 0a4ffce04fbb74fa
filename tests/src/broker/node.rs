//! A private RabbitMQ node: loopback only, free ports, its own port mapper, cookie and data, gone with its owner.

use std::{
    ffi::OsStr,
    fs,
    net::Ipv4Addr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::net::TcpStream;

use super::{
    Installation,
    place::{NODE, Place},
};
use crate::{
    command,
    leash::{Leashed, LeashedCommand, Signal},
    lock::lock,
    log::Log,
    usage::{self, Usage},
    waiting,
};

/// A node is up after about 6 s; on a machine busy with a build, much later.
const START_DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const CTL_DEADLINE: Duration = Duration::from_secs(60);
/// How often the start is tried on other ports, when another process took one in between.
const TRIES: usize = 5;

/// A node of our own. Dropping it kills it and removes its data; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct PrivateNode {
    installation: Installation,
    place: Place,
    amqp_url: String,
    running: Mutex<Option<Arc<Running>>>,
    epmd: Option<Leashed>,
}

#[derive(Debug)]
struct Running {
    beam: Leashed,
    log: Log,
}

enum BootFault {
    PortTaken(anyhow::Error),
    Other(anyhow::Error),
}

impl PrivateNode {
    /// Starts a new node with its data in a new directory below `data`. Returns when it takes connections.
    ///
    /// Cancellation safe: what was started so far ends.
    ///
    /// # Errors
    /// It does not start; the text has what it printed.
    pub async fn start(installation: &Installation, data: &Path) -> Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            let place = Place::make(data)?;
            match Self::start_at(installation, place).await {
                Ok(node) => return Ok(node),
                Err(BootFault::PortTaken(_)) if tries < TRIES => {}
                Err(BootFault::PortTaken(fault) | BootFault::Other(fault)) => {
                    return Err(fault.context("the private RabbitMQ node does not start"));
                }
            }
        }
    }

    async fn start_at(installation: &Installation, place: Place) -> Result<Self, BootFault> {
        let amqp_url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", place.amqp.number());
        let running = Mutex::new(None);
        // Complete from here on, so that an early return cleans up.
        let mut node = Self { installation: installation.clone(), place, amqp_url, running, epmd: None };
        node.epmd = Some(node.start_epmd().await?);
        node.boot().await?;
        Ok(node)
    }

    /// Where to connect. The user is the default one, who may do everything but only from this machine.
    #[must_use]
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    /// Its data, settings and logs; there as long as the node is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.place.directory
    }

    /// The process id of its Erlang VM, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.current().ok().map(|running| running.beam.pid())
    }

    /// What its Erlang VM has used since its last start.
    ///
    /// # Errors
    /// It does not run.
    pub fn usage(&self) -> Result<Usage> {
        usage::of(self.current()?.beam.pid())
    }

    /// The end of what it printed since its last start.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        lock(&self.running).as_ref().map(|running| running.log.tail(lines)).unwrap_or_default()
    }

    /// Ends it in order (SIGTERM, about a second) and waits until it is gone; its data stays.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub async fn stop(&self) -> Result<()> {
        let running = self.current()?;
        running.beam.signal(Signal::Terminate)?;
        let seen = || format!("\n{}", running.log.tail(20));
        waiting::within("the node to stop", STOP_DEADLINE, running.beam.exited(), seen).await??;
        Ok(())
    }

    /// SIGKILL to the whole node, and waits until it is gone; its data stays as it is.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&self) -> Result<()> {
        self.current()?.beam.kill().await?;
        Ok(())
    }

    /// Starts it again after [`PrivateNode::stop`] or [`PrivateNode::kill`]: same ports, same data.
    ///
    /// # Errors
    /// It runs already, or does not start.
    pub async fn start_again(&self) -> Result<()> {
        if self.current().is_ok() {
            bail!("the node runs already");
        }
        match self.boot().await {
            Ok(()) => Ok(()),
            Err(BootFault::PortTaken(fault) | BootFault::Other(fault)) => {
                Err(fault.context("the private RabbitMQ node does not start again"))
            }
        }
    }

    /// [`PrivateNode::stop`] and start again.
    ///
    /// # Errors
    /// It does not stop, or does not start.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start_again().await
    }

    /// `rabbitmqctl` with these arguments, which takes about 2 s; what it prints.
    ///
    /// # Errors
    /// The command fails; the text has what it printed.
    pub async fn ctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        let mut ctl = Command::new(self.installation.ctl());
        ctl.env_clear().args(["-q", "-n", NODE]).args(arguments);
        self.place.environment(&self.installation, &mut ctl);
        command::run(&mut ctl.into(), CTL_DEADLINE).await
    }

    fn current(&self) -> Result<Arc<Running>> {
        let running = lock(&self.running).clone().filter(|running| running.beam.exit_status().is_none());
        running.ok_or_else(|| anyhow!("the node does not run"))
    }

    /// A port mapper of our own, in the foreground: the one that RabbitMQ would start by itself stays for ever.
    async fn start_epmd(&self) -> Result<Leashed, BootFault> {
        let port = self.place.epmd.number();
        let mut command = LeashedCommand::new(self.installation.epmd());
        command
            .program()
            .args(["-address", "127.0.0.1", "-port", &port.to_string()])
            .current_dir(&self.place.directory);
        let (epmd, output) = command.spawn()?;
        let log = Log::capture(output)?;
        let listening = async || match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Ok(_) => std::ops::ControlFlow::Break(()),
            Err(_) if epmd.exit_status().is_some() => std::ops::ControlFlow::Break(()),
            Err(fault) => std::ops::ControlFlow::Continue(fault.to_string()),
        };
        waiting::until("epmd to listen", waiting::PATIENCE, listening).await?;
        // If another process took the port, ours has ended by now or is about to.
        tokio::time::sleep(Duration::from_millis(20)).await;
        match epmd.exit_status() {
            None => Ok(epmd),
            Some(status) => Err(BootFault::PortTaken(anyhow!("epmd ended ({status}):\n{}", log.tail(10)))),
        }
    }

    async fn boot(&self) -> Result<(), BootFault> {
        let mut command = LeashedCommand::new(self.installation.server());
        self.place.environment(&self.installation, command.program());
        command.program().current_dir(&self.place.directory);
        let (beam, output) = command.spawn()?;
        let running = Arc::new(Running { beam, log: Log::capture(output)? });
        *lock(&self.running) = Some(Arc::clone(&running));
        let complete = running.log.wait_for("that RabbitMQ is up", START_DEADLINE, |line| {
            line.text.contains("completed with ") || line.text.contains("Server startup complete")
        });
        if let Err(fault) = complete.await {
            let text = fault.to_string().to_lowercase();
            let taken = ["eaddrinuse", "already in use", "could not bind"].iter().any(|sign| text.contains(sign));
            return Err(if taken { BootFault::PortTaken(fault) } else { BootFault::Other(fault) });
        }
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.place.amqp.number()))
            .await
            .context("RabbitMQ says it is up, but takes no connection")?;
        Ok(())
    }
}

impl Drop for PrivateNode {
    fn drop(&mut self) {
        drop(lock(&self.running).take());
        drop(self.epmd.take());
        // What cannot be removed is below the build directory; no reason to fail.
        let _ = fs::remove_dir_all(&self.place.directory);
    }
}

impl From<anyhow::Error> for BootFault {
    fn from(fault: anyhow::Error) -> Self {
        Self::Other(fault)
    }
}
