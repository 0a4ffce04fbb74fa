//! What a private cluster has to itself: a directory, a port, and where we are root, a user who is not.

use std::{
    fs,
    os::unix::{
        fs::{DirBuilderExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use crate::{leash::Afterwards, ports::Port};

/// Where a cluster lives, and as whom.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    /// Removes the directory when we are not there to do it.
    _removal: Afterwards,
    pub(super) port: Port,
    user: Option<User>,
}

/// Postgres refuses to run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

impl Place {
    /// Below `data`; or where that is closed to the user who runs it, in the directory for temporary files.
    pub(super) fn make(data: &Path) -> Result<Self> {
        let name = format!("{}-{}", std::process::id(), &Uuid::new_v4().simple().to_string()[..8]);
        let user = User::unless_ordinary()?;
        let place = Self::make_at(data.join(&name), user)?;
        if place.is_reachable()? {
            return Ok(place);
        }
        let elsewhere = Self::make_at(std::env::temp_dir().join(format!("tandem-postgres-{name}")), user)?;
        if !elsewhere.is_reachable()? {
            bail!(
                "Postgres cannot run as root, and its user reaches neither {} nor the temporary files",
                data.display()
            );
        }
        Ok(elsewhere)
    }

    fn make_at(directory: PathBuf, user: Option<User>) -> Result<Self> {
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let made = fs::DirBuilder::new().mode(0o700).create(&directory);
        made.with_context(|| format!("cannot make {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        let quoted = directory.to_string_lossy().replace('\'', r"'\''");
        let _removal = Afterwards::run(&format!("rm -rf -- '{quoted}'"))?;
        let place = Self { directory, _removal, port: Port::choose()?, user };
        place.hand_over(&place.directory)?;
        Ok(place)
    }

    /// The cluster's data.
    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Makes the file or directory the user's who runs the cluster.
    pub(super) fn hand_over(&self, path: &Path) -> Result<()> {
        let Some(user) = self.user else { return Ok(()) };
        chown(path, Some(user.uid), Some(user.gid)).with_context(|| format!("cannot give away {}", path.display()))
    }

    /// Lets the command run here, as the user who may.
    pub(super) fn settle(&self, command: &mut Command) {
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command.current_dir(&self.directory);
    }

    fn is_reachable(&self) -> Result<bool> {
        let mut command = Command::new("/bin/sh");
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command.args(["-c", "cd -- \"$1\"", "sh"]).arg(&self.directory).current_dir("/");
        let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
        Ok(status.context("cannot run /bin/sh as another user")?.success())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is below the build directory; no reason to fail.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl User {
    /// Of Debian's packages if they are there, else the one everybody has; `None` if we are not root.
    fn unless_ordinary() -> Result<Option<Self>> {
        if id(&["-u"]) != Some(0) {
            return Ok(None);
        }
        let of = |name: &str| Some(Self { uid: id(&["-u", name])?, gid: id(&["-g", name])? });
        let user = of("postgres").or_else(|| of("nobody")).filter(|user| user.uid != 0);
        user.map(Some).context("Postgres cannot run as root, and there is neither a user postgres nor nobody")
    }
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).stdin(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}
