//! Where an installed Postgres keeps its server.

use std::path::{Path, PathBuf};

use crate::server::search::{below, on_path};

/// The server binaries of an installed Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The directory of `initdb` and `postgres`.
    bin: PathBuf,
}

impl Installation {
    /// Looks where Debian, the Postgres project and Homebrew put it, which is not on `PATH`, and then on `PATH`. Of several
    /// versions in one directory it takes the latest.
    #[must_use]
    pub fn find() -> Option<Self> {
        below(Path::new("/usr/lib/postgresql"), "")
            .chain(below(Path::new("/usr"), "pgsql-"))
            .chain(below(Path::new("/opt/homebrew/opt"), "postgresql@"))
            .filter_map(|version| version.join("bin/postgres").canonicalize().ok())
            .chain(on_path("postgres"))
            .filter_map(|server| server.parent().map(Path::to_owned))
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
