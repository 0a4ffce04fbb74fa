//! Where an installed Postgres keeps its server.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::leash::path;

/// The server binaries of an installed Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The directory of `initdb` and `postgres`.
    bin: PathBuf,
}

impl Installation {
    /// Looks where Debian's packages, those of the Postgres project and Homebrew put it, which is not on `PATH`, and on
    /// `PATH`; of several versions in one place it takes the latest.
    #[must_use]
    pub fn find() -> Option<Self> {
        let on_path: Vec<PathBuf> = env::split_paths(&path()).collect();
        versions(Path::new("/usr/lib/postgresql"), "")
            .chain(versions(Path::new("/usr"), "pgsql-"))
            .chain(versions(Path::new("/opt/homebrew/opt"), "postgresql@"))
            .map(|version| version.join("bin"))
            .chain(on_path)
            // Links resolved: the server looks for its other files beside itself.
            .filter_map(|bin| Some(fs::canonicalize(bin.join("postgres")).ok()?.parent()?.to_owned()))
            .find(|bin| bin.join("initdb").is_file())
            .map(|bin| Self { bin })
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.bin.join("initdb")
    }

    pub(super) fn server(&self) -> PathBuf {
        self.bin.join("postgres")
    }
}

/// Directories named by a version after this prefix, the latest first.
fn versions(root: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_string_lossy().strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path)
}
