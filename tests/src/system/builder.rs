//! How a system differs from the usual one.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{Names, Role, System};
use crate::{
    binaries::{self, Binaries, Profile},
    broker::{self, Broker},
    fake_api::{FakeApi, Options},
    http,
    postgres::Database,
    process::Program,
};

/// What the fulfillment worker must send, and the fake expects.
const TOKEN: &str = "token-for-tests";
/// The database file of a producer with SQLite.
const DATABASE: &str = "tandem.db";

/// A system to be started.
#[derive(Debug, Default)]
pub struct SystemBuilder {
    without: Vec<Role>,
    environment: Vec<(Role, String, String)>,
    amqp_url: Option<String>,
    process_amqp_urls: Vec<(Role, String)>,
    database_url: Option<String>,
    more_producers: usize,
    unready: bool,
    inventory_api: Options,
    fulfillment_api: Options,
}

/// What the processes of one system are started with.
#[derive(Debug)]
pub(super) struct Settings {
    binaries: &'static Binaries,
    environment: Vec<(Role, String, String)>,
    broker_url: String,
    process_amqp_urls: Vec<(Role, String)>,
    database_url: String,
    directory: Directory,
}

/// Removed when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl SystemBuilder {
    /// Without this process; start it later with [`System::start_process`].
    #[must_use]
    pub fn without(mut self, role: Role) -> Self {
        self.without.push(role);
        self
    }

    /// Without both workers.
    #[must_use]
    pub fn without_workers(self) -> Self {
        self.without(Role::Inventory).without(Role::Fulfillment)
    }

    /// A variable for the processes in this role.
    #[must_use]
    pub fn env(mut self, role: Role, name: &str, value: impl ToString) -> Self {
        self.environment.push((role, name.to_owned(), value.to_string()));
        self
    }

    /// Dead letters stay in their queues on the broker.
    #[must_use]
    pub fn without_collector(self) -> Self {
        self.env(Role::Producer, "DEAD_LETTER_COLLECTOR", "off")
    }

    /// A variable for both workers.
    #[must_use]
    pub fn env_of_workers(self, name: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        self.env(Role::Inventory, name, &value).env(Role::Fulfillment, name, value)
    }

    /// Retries after milliseconds instead of seconds.
    #[must_use]
    pub fn with_quick_retries(self) -> Self {
        self.env_of_workers("BACKOFF_INITIAL", "20ms").env_of_workers("BACKOFF_MAX", "100ms")
    }

    /// A worker that waits for one response longer than a test runs, so that a hanging call stays pending.
    #[must_use]
    pub fn with_patient_worker(self, role: Role) -> Self {
        self.env(role, "MAX_ATTEMPTS", 1).env(role, "REQUEST_TIMEOUT", "7m")
    }

    /// A broker other than the shared one.
    #[must_use]
    pub fn broker(mut self, amqp_url: &str) -> Self {
        self.amqp_url = Some(amqp_url.to_owned());
        self
    }

    /// Where the processes in this role look for the broker: at a fault proxy in front of it, or where nothing is.
    #[must_use]
    pub fn amqp_url(mut self, role: Role, amqp_url: &str) -> Self {
        self.process_amqp_urls.push((role, amqp_url.to_owned()));
        self
    }

    /// The database of its producers, instead of a file.
    #[must_use]
    pub fn database_url(mut self, url: &str) -> Self {
        self.database_url = Some(url.to_owned());
        self
    }

    /// This database for its producers, instead of a file. It must outlive the system.
    #[must_use]
    pub fn postgres(self, database: &Database) -> Self {
        self.database_url(database.url())
    }

    /// This many producers, each on its own port; see [`System::producers`].
    #[must_use]
    pub fn producers(mut self, count: NonZeroUsize) -> Self {
        self.more_producers = count.get() - 1;
        self
    }

    /// Waits only until the processes listen, not until they are ready.
    #[must_use]
    pub fn not_waiting_for_readiness(mut self) -> Self {
        self.unready = true;
        self
    }

    /// How the inventory API is set up. It needs no token.
    #[must_use]
    pub fn inventory_api(mut self, options: Options) -> Self {
        self.inventory_api = options;
        self
    }

    /// How the fulfillment API is set up.
    #[must_use]
    pub fn fulfillment_api(mut self, options: Options) -> Self {
        self.fulfillment_api = options;
        self
    }

    /// Builds the binaries if need be, starts everything, and waits until all are ready.
    ///
    /// # Errors
    /// Something does not start or become ready; the text says what and why.
    pub async fn start(self) -> Result<System> {
        let binaries = binaries::build(Profile::Running)?;
        let broker_url = match self.amqp_url {
            Some(url) => url,
            None => broker::shared().await?.url(),
        };
        let names = Names::new(format!("test-{}", &Uuid::new_v4().simple().to_string()[..12]));
        let directory = Directory::make(names.exchange())?;
        let file = || format!("sqlite://{}", directory.0.join(DATABASE).display());
        let settings = Settings {
            binaries,
            environment: self.environment,
            broker_url,
            process_amqp_urls: self.process_amqp_urls,
            database_url: self.database_url.unwrap_or_else(file),
            directory,
        };
        let mut fulfillment = self.fulfillment_api;
        fulfillment.token.get_or_insert_with(|| TOKEN.to_owned());
        let mut system = System {
            inventory_api: FakeApi::start(self.inventory_api)?,
            fulfillment_api: FakeApi::start(fulfillment)?,
            names,
            processes: Vec::new(),
            settings,
            http: http::client()?,
            queues: OnceCell::new(),
        };
        let producers = std::iter::repeat_n(Role::Producer, 1 + self.more_producers);
        for role in producers.chain([Role::Inventory, Role::Fulfillment]) {
            if !self.without.contains(&role) {
                system.start_process(role, &[])?;
            }
        }
        for (_, process) in &system.processes {
            if self.unready {
                process.http_addr().await?;
            } else if let Err(fault) = process.ready().await {
                return Err(system.with_logs(fault));
            }
        }
        Ok(system)
    }
}

impl SystemBuilder {
    /// Starts everything and runs these steps; if they fail, prints the last lines of each process.
    ///
    /// # Errors
    /// Something does not start, or the steps fail.
    pub async fn run(self, steps: impl AsyncFnOnce(&mut System) -> Result<()>) -> Result<()> {
        let mut system = self.start().await?;
        steps(&mut system).await.map_err(|fault| system.with_logs(fault))
    }
}

impl Settings {
    pub(super) fn program(
        &self,
        role: Role,
        names: &Names,
        inventory: &FakeApi,
        fulfillment: &FakeApi,
    ) -> Result<Program> {
        let own_url = self.process_amqp_urls.iter().rev().find(|(of, _)| *of == role).map(|(_, url)| url);
        let program = Program::new(self.binaries.path(role.binary())?)
            .directory(self.directory())
            .env("AMQP_URL", own_url.unwrap_or(&self.broker_url))
            .env("EXCHANGE", names.exchange())
            .env("HTTP_ADDR", "127.0.0.1:0")
            .env("LOG_LEVEL", "debug");
        let program = match role {
            Role::Producer => program.env("DATABASE_URL", &self.database_url),
            Role::Inventory => program.env("INVENTORY_API_URL", inventory.url()),
            Role::Fulfillment => {
                program.env("FULFILLMENT_API_URL", fulfillment.url()).env("FULFILLMENT_API_TOKEN", TOKEN)
            }
        };
        let own = self.environment.iter().filter(|(of, _, _)| *of == role);
        Ok(program.envs(own.map(|(_, name, value)| (name.clone(), value))))
    }

    pub(super) fn broker_url(&self) -> &str {
        &self.broker_url
    }

    /// Whether the broker was there before this process, and stays after it.
    pub(super) fn is_external_broker(&self) -> bool {
        Broker::given().is_some_and(|url| url == self.broker_url)
    }

    /// The destinations of the producers.
    pub(super) fn destinations(&self) -> Vec<&str> {
        let mut set = self.environment.iter().rev();
        let set = set.find(|(role, name, _)| (*role, name.as_str()) == (Role::Producer, "DESTINATIONS"));
        set.map_or("inventory,fulfillment", |(_, _, destinations)| destinations).split(',').collect()
    }

    pub(super) fn database(&self) -> PathBuf {
        self.directory.0.join(DATABASE)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory.0
    }
}

impl Directory {
    fn make(name: &str) -> Result<Self> {
        let path = binaries::target_directory()?.join("tests").join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
