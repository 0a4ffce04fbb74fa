//! The directory of a private server, and for root, the user who works in it.

use std::{
    fs,
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use crate::{binaries, leash::OnExit};

/// A directory, with the user who works in it. Dropping it removes it; so does the end of this process.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Removes it if this process is killed.
    _removal: OnExit,
    user: Option<User>,
}

/// A user other than that of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl Directory {
    /// Makes one in the build directory, or among the temporary files if the user cannot reach that.
    pub(super) fn make(software: &str, user: Option<User>) -> Result<Self> {
        let unique = &Uuid::new_v4().simple().to_string()[..8];
        let name = format!("{}-{}-{unique}", software.to_lowercase(), std::process::id());
        let usual = binaries::target_directory()?.join("servers").join(&name);
        for path in [usual, std::env::temp_dir().join(format!("tandem-{name}"))] {
            let directory = Self::make_at(path, user)?;
            if directory.is_reachable()? {
                return Ok(directory);
            }
        }
        bail!("the user of {software} can reach neither the build directory nor the temporary files")
    }

    fn make_at(path: PathBuf, user: Option<User>) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        let path = path.canonicalize()?;
        let quoted = path.to_string_lossy().replace('\'', r"'\''");
        let _removal = OnExit::run(&format!("rm -rf -- '{quoted}'"))?;
        let directory = Self { path, _removal, user };
        directory.hand_over(&directory.path)?;
        Ok(directory)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only the user can read.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_secret(&self, name: &str, secret: &str) -> Result<PathBuf> {
        let path = self.join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
        std::io::Write::write_all(&mut file, secret.as_bytes())?;
        self.hand_over(&path)?;
        Ok(path)
    }

    /// Lets the command run in it, as the user.
    pub fn settle(&self, command: &mut Command) {
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command.current_dir(&self.path);
    }

    fn hand_over(&self, path: &Path) -> Result<()> {
        let Some(user) = self.user else { return Ok(()) };
        chown(path, Some(user.uid), Some(user.gid)).with_context(|| format!("cannot give away {}", path.display()))
    }

    fn is_reachable(&self) -> Result<bool> {
        let mut command = Command::new("/bin/sh");
        self.settle(&mut command);
        command.args(["-c", "cd -- \"$1\"", "sh"]).arg(&self.path).current_dir("/");
        let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
        Ok(status.context("cannot run /bin/sh as another user")?.success())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left is in the build directory, which is no reason to fail.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl User {
    /// For root, the user of this name or `nobody`; for others, nobody else.
    ///
    /// # Errors
    /// There is neither.
    pub fn instead_of_root(name: &str) -> Result<Option<Self>> {
        if id(&["-u"]) != Some(0) {
            return Ok(None);
        }
        let of = |name: &str| Some(Self { uid: id(&["-u", name])?, gid: id(&["-g", name])? });
        let user = of(name).or_else(|| of("nobody")).filter(|user| user.uid != 0);
        user.map(Some).with_context(|| format!("there is neither a user {name} nor nobody, and root may not run it"))
    }
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).stdin(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}
