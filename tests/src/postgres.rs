//! Postgres for tests and bench.

mod database;
mod installation;

use std::process::Command;

use anyhow::{Context, Result};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub use self::{
    database::{Database, connect},
    installation::Installation,
};
use crate::{
    command,
    leash::{LeashedCommand, Signal},
    ports::Port,
    server::{self, Directory, Image, Package, Private, Server, Software, User},
    usage::{self, Usage},
    waiting::PATIENCE,
};

/// A Postgres to use.
pub type Postgres = Server<PostgreSql>;
/// A private Postgres cluster.
pub type PrivateCluster = Private<PostgreSql>;

/// For several systems at a time.
const CONNECTIONS: &str = "max_connections=300";
const ADMINISTRATOR: &str = "postgres";
/// The user who owns the databases, without other rights.
const OWNER: &str = "tandem";

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// Required for every claim about durability or speed.
    On,
    /// Data survives the end of every process, but not a power cut; for all other tests.
    Off,
}

/// The port and secret of one Postgres cluster.
#[derive(Debug)]
pub struct PostgreSql {
    port: Port,
    password: String,
    syncs: Syncs,
}

impl Software for PostgreSql {
    const NAME: &'static str = "Postgres";
    const VARIABLE: &'static str = "TEST_DATABASE_URL";
    const EXAMPLE: &'static str =
        "postgres://user:password@127.0.0.1:5432/postgres, with a user who may create databases";
    const DOWNLOADS: &'static str = "`brew install postgresql@17` (macOS), or https://www.postgresql.org/download/";
    const SEARCHED: &'static str =
        "no initdb and postgres on PATH nor below /usr/lib/postgresql, /usr/pgsql-*, /opt/homebrew/opt";
    const PACKAGE: Package = Package {
        name: "postgresql",
        service: None,
        // It otherwise makes a cluster, and a service for it, as soon as a server is installed.
        first: Some((
            "postgresql-common",
            "/etc/postgresql-common/createcluster.d/private-cluster-only.conf",
            "create_main_cluster = false\n",
        )),
    };
    const UP: &'static [&'static str] = &["database system is ready to accept connections"];
    const STOP: Signal = Signal::Interrupt;
    // It releases its shared memory, which a SIGKILL would leave behind.
    const CRASH: Signal = Signal::Quit;

    type Options = Syncs;
    type Installation = Installation;

    fn choose(syncs: Syncs) -> Result<Self> {
        Ok(Self { port: Port::choose()?, password: Uuid::new_v4().simple().to_string(), syncs })
    }

    fn installation() -> Option<Installation> {
        Installation::find()
    }

    fn user() -> Result<Option<User>> {
        User::instead_of_root("postgres")
    }

    async fn prepare(&mut self, installation: &Installation, directory: &Directory) -> Result<()> {
        let password = directory.write_secret("password", &self.password)?;
        let mut initdb = Command::new(installation.initdb());
        initdb
            .args(["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--no-instructions", "--no-sync"])
            .arg(format!("--username={ADMINISTRATOR}"))
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(directory.join("data"));
        directory.settle(&mut initdb);
        command::run(&mut initdb.into(), PATIENCE).await?;
        std::fs::remove_file(&password)?;
        Ok(())
    }

    fn command(&self, installation: &Installation, directory: &Directory) -> LeashedCommand {
        let mut command = LeashedCommand::new(installation.server()).ended_by(Self::CRASH);
        let program = command.program();
        program.arg("-D").arg(directory.join("data")).env("LANG", "C.UTF-8");
        let port = format!("port={}", self.port.number());
        let ours = [
            "listen_addresses=127.0.0.1",
            &port,
            // The usual directory for sockets is the system's, and the path of another one may be too long.
            "unix_socket_directories=",
            // In files, which are removed with its data whatever happens.
            "dynamic_shared_memory_type=mmap",
            CONNECTIONS,
            "log_lock_waits=on",
        ];
        for setting in ours.iter().chain(self.syncs.settings()) {
            program.args(["-c", setting]);
        }
        command
    }

    fn image(&self) -> Image {
        let settings = [CONNECTIONS].into_iter().chain(self.syncs.settings().iter().copied());
        Image {
            name: "postgres",
            tag: "17",
            published: self.port.number(),
            port: 5432,
            environment: vec![("POSTGRES_PASSWORD", self.password.clone())],
            command: ["postgres"].into_iter().chain(settings.flat_map(|setting| ["-c", setting])).collect(),
        }
    }

    fn url(&self) -> String {
        self.url_of(ADMINISTRATOR)
    }

    /// In a container, the first start makes a cluster with a server that accepts no connections from outside.
    async fn connect(&self) -> Result<()> {
        connect(&self.url()).await.map(drop)
    }

    async fn set_up(&self) -> Result<()> {
        let make = format!("CREATE ROLE {OWNER} LOGIN PASSWORD '{}'", self.password);
        connect(&self.url()).await?.batch_execute(&make).await.context("the owner of databases cannot be made")
    }

    fn usage(pid: u32) -> Result<Usage> {
        usage::with_children(pid)
    }
}

impl PostgreSql {
    fn url_of(&self, user: &str) -> String {
        format!("postgres://{user}:{}@127.0.0.1:{}/postgres", self.password, self.port.number())
    }
}

impl Syncs {
    /// The settings of the server.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::On => &[],
            Self::Off => &["fsync=off", "full_page_writes=off"],
        }
    }
}

impl Postgres {
    /// The one at `TEST_DATABASE_URL`, or a started one.
    ///
    /// # Errors
    /// None is available; the text says why, and what to do.
    pub async fn find_or_start(syncs: Syncs) -> Result<Self> {
        Self::find_or_start_with(syncs).await
    }

    /// An empty database, of a user without other rights unless the server is external.
    ///
    /// # Errors
    /// The server is not reached, or its user may not create databases.
    pub async fn fresh_database(&self) -> Result<Database> {
        let owned = match self {
            Self::External(url) => {
                return Database::create(url, None).await.with_context(|| {
                    let variable = PostgreSql::VARIABLE;
                    format!("{variable} cannot be used: its user must be allowed to create databases")
                });
            }
            Self::Private(private) => &private.software,
            Self::Container(container) => &container.software,
        };
        Database::create(&owned.url(), Some((OWNER, &owned.url_of(OWNER)))).await
    }
}

/// The Postgres that the tests of this process share. It does not wait for the disk, so it proves nothing about power
/// cuts. A test that stops one starts a [`PrivateCluster`].
///
/// # Errors
/// None is available; every caller gets the same error.
pub async fn shared() -> Result<&'static Postgres> {
    static SHARED: OnceCell<Result<Postgres, String>> = OnceCell::const_new();
    server::shared(&SHARED, Syncs::Off).await
}

/// A fresh database on the [`shared`] Postgres, for one test; dropping it removes it.
///
/// # Errors
/// None is available; the text says what to install.
pub async fn fresh_database() -> Result<Database> {
    shared().await?.fresh_database().await
}
