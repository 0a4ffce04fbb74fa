//! The last resort: Debian's package, installed where this process is allowed to.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{command, leash::Afterwards};

const INSTALL_DEADLINE: Duration = Duration::from_secs(600);
/// Debian's own switch: package scripts ask it before they start a service, and 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs `rabbitmq-server`, says so before, and leaves no service running.
///
/// # Errors
/// This is not root on Debian or Ubuntu, or the installation fails.
pub(super) async fn install() -> Result<()> {
    if !Path::new("/etc/debian_version").exists() {
        bail!("this is neither Debian nor Ubuntu");
    }
    if !is_root().await? {
        bail!("this is not root, so no package is installed");
    }
    eprintln!(
        "no RabbitMQ was found: installing Debian's package rabbitmq-server with apt-get, for a private node. Its service \
         is not started. To undo: apt-get purge --auto-remove rabbitmq-server"
    );
    let policy = NoServices::declare()?;
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install = ["install", "--yes", "--no-install-recommends", "rabbitmq-server"];
    if command::run(&mut apt(&install), INSTALL_DEADLINE).await.is_err() {
        // A fresh machine has no package lists.
        command::run(&mut apt(&["update"]), INSTALL_DEADLINE).await?;
        command::run(&mut apt(&install), INSTALL_DEADLINE).await?;
    }
    if policy.guard.is_none() {
        // The policy of this machine may have let it start. There was no such package before, so it is not in use.
        let mut stop = Command::new("service");
        if let Err(fault) = command::run(stop.args(["rabbitmq-server", "stop"]), INSTALL_DEADLINE).await {
            eprintln!("{fault:#}");
        }
    }
    Ok(())
}

async fn is_root() -> Result<bool> {
    let id = command::run(Command::new("id").arg("-u"), Duration::from_secs(10)).await?;
    Ok(id == "0")
}

/// As long as it lives, installing a package starts no service. A policy that is there already stays, and rules.
struct NoServices {
    /// Takes the policy back when we are not there to do it.
    guard: Option<Afterwards>,
}

impl NoServices {
    fn declare() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { guard: None });
        }
        let guard = Some(Afterwards::run(&format!("rm -f {POLICY}"))?);
        let mut policy =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY).context(POLICY)?;
        policy.write_all(
            b"#!/bin/sh\n# Installing rabbitmq-server for a private node; removed afterwards.\nexit 101\n",
        )?;
        Ok(Self { guard })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.guard.is_some() && fs::remove_file(POLICY).is_err() {
            eprintln!("{POLICY} could not be removed: as long as it is there, package scripts start no service");
        }
    }
}
