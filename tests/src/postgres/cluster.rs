//! A private Postgres cluster: one port on loopback, no socket, its own password and data, gone with its owner.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use uuid::Uuid;

use super::{Database, Installation, database::connect, place::Place};
use crate::{
    command,
    leash::{Leashed, LeashedCommand, Signal},
    lock::lock,
    log::Log,
    usage::{self, Usage},
    waiting,
};

/// A cluster is made and up in less than a second; on a machine busy with a build, much later.
const START_DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// How often the start is tried on other ports, when another process took one in between.
const TRIES: usize = 5;
pub(super) const ADMINISTRATOR: &str = "postgres";
/// Who owns the databases, and may no more than that.
pub(super) const OWNER: &str = "tandem";

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// As it must be wherever durability or speed is claimed.
    On,
    /// Survives every end of its processes, but not that of the machine; for tests of everything else.
    Off,
}

/// A cluster of our own. Dropping it ends it and removes its data; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct PrivateCluster {
    installation: Installation,
    place: Place,
    syncs: Syncs,
    password: String,
    running: Mutex<Option<Arc<Running>>>,
}

#[derive(Debug)]
struct Running {
    postmaster: Leashed,
    log: Log,
}

enum BootFault {
    PortTaken(anyhow::Error),
    Other(anyhow::Error),
}

impl PrivateCluster {
    /// Makes a new cluster with its data in a new directory below `data`, and starts it. Returns when it takes
    /// connections.
    ///
    /// Cancellation safe: what was started so far ends.
    ///
    /// # Errors
    /// It does not start; the text has what it printed.
    pub async fn start(installation: &Installation, data: &Path, syncs: Syncs) -> Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            let cluster = Self {
                installation: installation.clone(),
                place: Place::make(data)?,
                syncs,
                password: Uuid::new_v4().simple().to_string(),
                running: Mutex::new(None),
            };
            cluster.initialise().await.context("the private Postgres cluster cannot be made")?;
            match cluster.boot().await {
                Ok(()) => {}
                Err(BootFault::PortTaken(_)) if tries < TRIES => continue,
                Err(BootFault::PortTaken(fault) | BootFault::Other(fault)) => {
                    return Err(fault.context("the private Postgres cluster does not start"));
                }
            }
            make_owner(&cluster.admin_url(), &cluster.password).await?;
            return Ok(cluster);
        }
    }

    /// Where its administrator connects.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.url(ADMINISTRATOR)
    }

    /// A database with nothing in it, of a user who owns it and may no more.
    ///
    /// # Errors
    /// The cluster does not run.
    pub async fn fresh_database(&self) -> Result<Database> {
        Database::create(&self.admin_url(), Some((OWNER, &self.url(OWNER)))).await
    }

    /// Its data; there as long as the cluster is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.place.directory
    }

    /// The process id of its postmaster, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.current().ok().map(|running| running.postmaster.pid())
    }

    /// What its processes have used since its last start.
    ///
    /// # Errors
    /// It does not run.
    pub fn usage(&self) -> Result<Usage> {
        usage::with_children(self.current()?.postmaster.pid())
    }

    /// The end of what it printed since its last start.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        lock(&self.running).as_ref().map(|running| running.log.tail(lines)).unwrap_or_default()
    }

    /// Ends it in order, without waiting for its clients, and waits until it is gone; its data stays.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub async fn stop(&self) -> Result<()> {
        self.end(Signal::Interrupt).await
    }

    /// Ends it as a crash does, and waits until it is gone: no checkpoint, no word to its clients, and a recovery from
    /// the log at the next start. Only its shared memory is given back, which a SIGKILL would leave.
    ///
    /// # Errors
    /// It does not run.
    pub async fn crash(&self) -> Result<()> {
        self.end(Signal::Quit).await
    }

    /// Starts it again after [`PrivateCluster::stop`] or [`PrivateCluster::crash`]: same port, same data.
    ///
    /// # Errors
    /// It runs already, or does not start.
    pub async fn start_again(&self) -> Result<()> {
        if self.current().is_ok() {
            bail!("the cluster runs already");
        }
        match self.boot().await {
            Ok(()) => Ok(()),
            Err(BootFault::PortTaken(fault) | BootFault::Other(fault)) => {
                Err(fault.context("the private Postgres cluster does not start again"))
            }
        }
    }

    async fn end(&self, signal: Signal) -> Result<()> {
        let running = self.current()?;
        running.postmaster.signal(signal)?;
        let seen = || format!("\n{}", running.log.tail(20));
        waiting::within("the cluster to stop", STOP_DEADLINE, running.postmaster.exited(), seen).await??;
        Ok(())
    }

    fn url(&self, user: &str) -> String {
        format!("postgres://{user}:{}@127.0.0.1:{}/postgres", self.password, self.place.port.number())
    }

    fn current(&self) -> Result<Arc<Running>> {
        let running = lock(&self.running).clone().filter(|running| running.postmaster.exit_status().is_none());
        running.ok_or_else(|| anyhow!("the cluster does not run"))
    }

    async fn initialise(&self) -> Result<()> {
        let password = self.place.directory.join("password");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&password)?;
        file.write_all(self.password.as_bytes())?;
        self.place.hand_over(&password)?;
        let mut initdb = Command::new(self.installation.initdb());
        initdb
            .args(["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--no-instructions", "--no-sync"])
            .arg(format!("--username={ADMINISTRATOR}"))
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(self.place.data());
        self.place.settle(&mut initdb);
        command::run(&mut initdb.into(), START_DEADLINE).await?;
        fs::remove_file(&password)?;
        Ok(())
    }

    async fn boot(&self) -> Result<(), BootFault> {
        // A killed postmaster leaves a segment of System V shared memory; one that is told to end at once does not.
        let mut command = LeashedCommand::new(self.installation.server()).ended_by(Signal::Quit);
        let program = command.program();
        program.arg("-D").arg(self.place.data()).env("LANG", "C.UTF-8");
        for setting in self.settings() {
            program.args(["-c", &setting]);
        }
        self.place.settle(program);
        let (postmaster, output) = command.spawn()?;
        let running = Arc::new(Running { postmaster, log: Log::capture(output)? });
        *lock(&self.running) = Some(Arc::clone(&running));
        let ready = running.log.wait_for("that Postgres is up", START_DEADLINE, |line| {
            line.text.contains("database system is ready to accept connections")
        });
        if let Err(fault) = ready.await {
            let taken = fault.to_string().contains("Address already in use");
            return Err(if taken { BootFault::PortTaken(fault) } else { BootFault::Other(fault) });
        }
        Ok(())
    }

    fn settings(&self) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.place.port.number()),
            // The usual directory for sockets is the system's, and the path of one of our own may be too long for one.
            "unix_socket_directories=".to_owned(),
            // Of files that are removed with its data, whatever happens.
            "dynamic_shared_memory_type=mmap".to_owned(),
            // Several systems at a time.
            "max_connections=300".to_owned(),
            "log_lock_waits=on".to_owned(),
        ];
        settings.extend(self.syncs.settings().iter().copied().map(str::to_owned));
        settings
    }
}

impl Syncs {
    /// What makes it so.
    pub(super) fn settings(self) -> &'static [&'static str] {
        match self {
            Self::On => &[],
            Self::Off => &["fsync=off", "full_page_writes=off"],
        }
    }
}

/// Makes the user who owns the databases, once per server.
pub(super) async fn make_owner(admin_url: &str, password: &str) -> Result<()> {
    let make = format!("CREATE ROLE {OWNER} LOGIN PASSWORD '{password}'");
    connect(admin_url).await?.batch_execute(&make).await.context("the owner of databases cannot be made")
}

impl From<anyhow::Error> for BootFault {
    fn from(fault: anyhow::Error) -> Self {
        Self::Other(fault)
    }
}
