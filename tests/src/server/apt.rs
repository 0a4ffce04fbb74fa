//! The last resort: installing Debian's package, as root.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{command, leash::OnExit, waiting::PATIENCE};

const INSTALL_DEADLINE: Duration = Duration::from_secs(600);
/// Package scripts of Debian ask this script before they start a service; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A package with a server, and how to keep Debian from running that as a service.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// The service to stop, where the machine's own policy lets it start.
    pub service: Option<&'static str>,
    /// A package to install first, and a file that it reads while the server is installed, with its text.
    pub first: Option<(&'static str, &'static str, &'static str)>,
}

/// Announces and installs the package, and leaves no service running.
///
/// # Errors
/// This is not root on Debian or Ubuntu, or the installation fails.
pub(super) async fn install(software: &str, package: &Package) -> Result<()> {
    may_install().await?;
    let all = package.first.iter().map(|(name, ..)| *name).chain([package.name]).collect::<Vec<_>>().join(" ");
    // The test runner does not capture this.
    writeln!(
        std::io::stderr(),
        "no {software} was found: installing Debian's package {all} with apt-get, for private use. No service is \
         started. To undo: apt-get purge --auto-remove {all}"
    )?;
    let policy = NoServices::declare()?;
    let mut switch = None;
    if let Some((name, path, text)) = package.first {
        apt_install(name).await?;
        let path = Path::new(path);
        fs::create_dir_all(path.parent().context("a directory")?).with_context(|| path.display().to_string())?;
        switch = Some(Passing::write(path, 0o644, text)?);
    }
    apt_install(package.name).await?;
    drop(switch);
    if let (None, Some(service)) = (&policy.0, package.service) {
        // The machine's own policy may have let it start. The package is new here, so the service is not in use.
        let mut stop = Command::new("service");
        if let Err(fault) = command::run(stop.args([service, "stop"]), INSTALL_DEADLINE).await {
            eprintln!("{fault:#}");
        }
    }
    Ok(())
}

async fn may_install() -> Result<()> {
    if !Path::new("/etc/debian_version").exists() {
        bail!("this is neither Debian nor Ubuntu");
    }
    if command::run(Command::new("id").arg("-u"), PATIENCE).await? != "0" {
        bail!("this is not root, so no package is installed");
    }
    Ok(())
}

async fn apt_install(package: &str) -> Result<()> {
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

/// While this lives, installing a package starts no service. An existing policy stays in effect.
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

/// A settings file of the system that exists while this lives.
struct Passing {
    path: PathBuf,
    /// Removes it if this process is killed.
    _guard: OnExit,
}

impl Passing {
    fn write(path: &Path, mode: u32, text: &str) -> Result<Self> {
        let shown = path.display().to_string();
        let _guard = OnExit::run(&format!("rm -f {shown}"))?;
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).context(shown.clone())?;
        file.write_all(text.as_bytes()).context(shown)?;
        Ok(Self { path: path.to_owned(), _guard })
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if fs::remove_file(&self.path).is_err() {
            eprintln!("{} could not be removed; it was meant for one installation", self.path.display());
        }
    }
}
