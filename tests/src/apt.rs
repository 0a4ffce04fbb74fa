//! The last resort: Debian's package, installed where this process is allowed to.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{command, leash::Afterwards};

const INSTALL_DEADLINE: Duration = Duration::from_secs(600);
const QUESTION_DEADLINE: Duration = Duration::from_secs(10);
/// Debian's own switch: package scripts ask it before they start a service, and 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Read by Debian's `postgresql-common`, which otherwise makes a cluster as soon as a server is installed.
const CLUSTERS: &str = "/etc/postgresql-common/createcluster.d";

/// Installs `rabbitmq-server`, says so before, and leaves no service running.
///
/// # Errors
/// This is not root on Debian or Ubuntu, or the installation fails.
pub(crate) async fn install_rabbitmq() -> Result<()> {
    may_install().await?;
    eprintln!(
        "no RabbitMQ was found: installing Debian's package rabbitmq-server with apt-get, for a private node. Its service \
         is not started. To undo: apt-get purge --auto-remove rabbitmq-server"
    );
    let policy = NoServices::declare()?;
    install("rabbitmq-server").await?;
    if policy.0.is_none() {
        // The policy of this machine may have let it start. There was no such package before, so it is not in use.
        let mut stop = Command::new("service");
        if let Err(fault) = command::run(stop.args(["rabbitmq-server", "stop"]), INSTALL_DEADLINE).await {
            eprintln!("{fault:#}");
        }
    }
    Ok(())
}

/// Installs `postgresql`, says so before; it gets no cluster of the system's, so there is no service to run.
///
/// # Errors
/// This is not root on Debian or Ubuntu, or the installation fails.
pub(crate) async fn install_postgres() -> Result<()> {
    may_install().await?;
    eprintln!(
        "no Postgres was found: installing Debian's package postgresql with apt-get, for a private cluster. It gets no \
         cluster of the system's and no service. To undo: apt-get purge --auto-remove postgresql postgresql-common"
    );
    let _policy = NoServices::declare()?;
    // First what reads the switch, then what it is for.
    install("postgresql-common").await?;
    fs::create_dir_all(CLUSTERS).context(CLUSTERS)?;
    let switch = Path::new(CLUSTERS).join("private-cluster-only.conf");
    let _switch = Passing::write(&switch, 0o644, "create_main_cluster = false\n")?;
    install("postgresql").await
}

async fn may_install() -> Result<()> {
    if !Path::new("/etc/debian_version").exists() {
        bail!("this is neither Debian nor Ubuntu");
    }
    if command::run(Command::new("id").arg("-u"), QUESTION_DEADLINE).await? != "0" {
        bail!("this is not root, so no package is installed");
    }
    Ok(())
}

async fn install(package: &str) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    if command::run(&mut apt(&install), INSTALL_DEADLINE).await.is_err() {
        // A fresh machine has no package lists.
        command::run(&mut apt(&["update"]), INSTALL_DEADLINE).await?;
        command::run(&mut apt(&install), INSTALL_DEADLINE).await?;
    }
    Ok(())
}

/// As long as it lives, installing a package starts no service. A policy that is there already stays, and rules.
struct NoServices(Option<Passing>);

impl NoServices {
    fn declare() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self(None));
        }
        let text = "#!/bin/sh\n# Installing a package for private use only; removed afterwards.\nexit 101\n";
        Passing::write(Path::new(POLICY), 0o755, text).map(Some).map(Self)
    }
}

/// A file of the system's settings that is there for as long as this lives.
struct Passing {
    path: PathBuf,
    /// Takes it back when we are not there to do it.
    _guard: Afterwards,
}

impl Passing {
    fn write(path: &Path, mode: u32, text: &str) -> Result<Self> {
        let shown = path.display().to_string();
        let _guard = Afterwards::run(&format!("rm -f {shown}"))?;
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).context(shown.clone())?;
        file.write_all(text.as_bytes()).context(shown)?;
        Ok(Self { path: path.to_owned(), _guard })
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if fs::remove_file(&self.path).is_err() {
            eprintln!("{} could not be removed; it was meant for one installation only", self.path.display());
        }
    }
}
