//! A Postgres for tests, demo and bench: found, or started and ended with us. One that we did not start is only used.

mod cluster;
mod container;
mod database;
mod installation;
mod place;
mod url;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::OnceCell;

pub use self::{
    cluster::{PrivateCluster, Syncs},
    container::Container,
    database::{Database, connect},
    installation::Installation,
};
use crate::{apt, binaries, environment, usage::Usage};

/// The variable that names a Postgres to use; its user must be allowed to create databases.
pub const VARIABLE: &str = "TEST_DATABASE_URL";

/// A Postgres to use.
#[derive(Debug)]
pub enum Postgres {
    /// One that was there: the value of `TEST_DATABASE_URL`.
    External(String),
    /// A private cluster of the Postgres installed here.
    Cluster(PrivateCluster),
    /// A container of ours.
    Container(Container),
}

impl Postgres {
    /// The first that can be had of: `TEST_DATABASE_URL`; a private cluster of installed server binaries; a
    /// container, where a Docker Engine answers. What is started keeps its data below `data`, and ends with this
    /// process. Nothing is installed: for that, there is [`install`].
    ///
    /// # Errors
    /// None can be had; the text says why not each, and what to install.
    pub async fn find_or_start(data: &Path, syncs: Syncs) -> Result<Self> {
        if let Some(url) = environment::variable(VARIABLE) {
            return Ok(Self::External(url));
        }
        if let Some(installation) = Installation::find() {
            return PrivateCluster::start(&installation, data, syncs).await.map(Self::Cluster);
        }
        let no_container = match Container::start(syncs).await {
            Ok(container) => return Ok(Self::Container(container)),
            Err(fault) => fault,
        };
        bail!(
            "no Postgres can be had. Do one of these:\n\
             - set {VARIABLE} to a Postgres that runs, such as postgres://user:password@127.0.0.1:5432/postgres, with a \
             user who may create databases;\n\
             - install one: `sudo apt-get install --no-install-recommends postgresql` (Debian, Ubuntu), \
             `brew install postgresql@17` (macOS), or https://www.postgresql.org/download/;\n\
             - install Docker, with access to its engine.\n\
             What was tried:\n\
             - server binaries: no initdb and postgres on PATH nor below /usr/lib/postgresql, /usr/pgsql-*, \
             /opt/homebrew/opt;\n\
             - Docker: {no_container:#}"
        )
    }

    /// A database with nothing in it, of a user who owns it and no more where the server is ours.
    ///
    /// # Errors
    /// The server is not reached, or its user may not create databases.
    pub async fn fresh_database(&self) -> Result<Database> {
        match self {
            Self::External(url) => Database::create(url, None).await.with_context(|| {
                format!("{VARIABLE} cannot be used, which takes a user who may create databases; without it, a private cluster is started")
            }),
            Self::Cluster(cluster) => cluster.fresh_database().await,
            Self::Container(container) => container.fresh_database().await,
        }
    }

    /// Ends it in order, without waiting for its clients; its data stays for [`Postgres::start`].
    ///
    /// # Errors
    /// It is not ours, or does not end.
    pub async fn stop(&self) -> Result<()> {
        match self {
            Self::External(_) => Err(not_ours()),
            Self::Cluster(cluster) => cluster.stop().await,
            Self::Container(container) => container.stop().await,
        }
    }

    /// Ends it as a crash does: no checkpoint, no word to its clients.
    ///
    /// # Errors
    /// It is not ours, or does not run.
    pub async fn crash(&self) -> Result<()> {
        match self {
            Self::External(_) => Err(not_ours()),
            Self::Cluster(cluster) => cluster.crash().await,
            Self::Container(container) => container.crash().await,
        }
    }

    /// Starts it again after [`Postgres::stop`] or [`Postgres::crash`]: same port, same data. Returns when it takes
    /// connections.
    ///
    /// # Errors
    /// It is not ours, or does not start.
    pub async fn start(&self) -> Result<()> {
        match self {
            Self::External(_) => Err(not_ours()),
            Self::Cluster(cluster) => cluster.start_again().await,
            Self::Container(container) => container.start_again().await,
        }
    }

    /// What its processes have used since it was started last; `None` if they are not processes of ours.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Cluster(cluster) => cluster.usage().ok(),
            Self::External(_) | Self::Container(_) => None,
        }
    }
}

/// Installs Debian's package where this process may, without a cluster of the system's, and says so.
///
/// # Errors
/// This is not root on Debian or Ubuntu, or the installation fails.
pub async fn install() -> Result<()> {
    apt::install_postgres().await
}

/// The Postgres that the tests of this process share. It waits for no disk, so it proves nothing about power cuts.
/// Nobody stops it: for that, start a [`PrivateCluster`].
///
/// Cancellation safe: another caller then starts it.
///
/// # Errors
/// None can be had, for every caller alike.
pub async fn shared() -> Result<&'static Postgres> {
    static SHARED: OnceCell<Result<Postgres, String>> = OnceCell::const_new();
    let start = async || {
        let data = data().map_err(|fault| format!("{fault:#}"))?;
        Postgres::find_or_start(&data, Syncs::Off).await.map_err(|fault| format!("{fault:#}"))
    };
    SHARED.get_or_init(start).await.as_ref().map_err(|fault| anyhow!("{fault}"))
}

/// A fresh database on the [`shared`] Postgres, for one test; dropping it removes it.
///
/// # Errors
/// No Postgres can be had; the text says what to install.
pub async fn fresh_database() -> Result<Database> {
    shared().await?.fresh_database().await
}

/// Where clusters keep their data.
///
/// # Errors
/// The running program is in no build directory.
pub fn data() -> Result<std::path::PathBuf> {
    Ok(binaries::target_directory()?.join("postgres"))
}

fn not_ours() -> anyhow::Error {
    anyhow!("the Postgres at {VARIABLE} was not started here, so it is not ours to stop or start")
}
