//! Postgres in a container of ours, where a Docker Engine answers.

use std::{ops::ControlFlow, time::Duration};

use anyhow::Result;
use uuid::Uuid;

use super::{
    Database, Syncs,
    cluster::{ADMINISTRATOR, OWNER, make_owner},
    database::connect,
};
use crate::{
    container::{self, Wanted},
    waiting,
};

const IMAGE: &str = "postgres";
const TAG: &str = "17";
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A container under a name of its own. Dropping it removes it; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct Container {
    container: container::Container,
    password: String,
}

impl Container {
    /// Pulls the image if it is not there, and starts it. Returns when it takes connections.
    ///
    /// # Errors
    /// No engine answers, the image cannot be had, or the container does not start.
    pub async fn start(syncs: Syncs) -> Result<Self> {
        let password = Uuid::new_v4().simple().to_string();
        let settings = ["max_connections=300"].into_iter().chain(syncs.settings().iter().copied());
        let wanted = Wanted {
            image: IMAGE,
            tag: TAG,
            port: 5432,
            environment: vec![("POSTGRES_PASSWORD", password.clone())],
            command: ["postgres"].into_iter().chain(settings.flat_map(|setting| ["-c", setting])).collect(),
        };
        let container = Self { container: container::Container::start(wanted).await?, password };
        container.ready().await?;
        make_owner(&container.admin_url(), &container.password).await?;
        Ok(container)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.container.name()
    }

    /// Where its administrator connects.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.url(ADMINISTRATOR)
    }

    pub(super) async fn fresh_database(&self) -> Result<Database> {
        Database::create(&self.admin_url(), Some((OWNER, &self.url(OWNER)))).await
    }

    pub(super) async fn stop(&self) -> Result<()> {
        self.container.stop().await
    }

    pub(super) async fn crash(&self) -> Result<()> {
        self.container.kill().await
    }

    pub(super) async fn start_again(&self) -> Result<()> {
        self.container.start_again().await?;
        self.ready().await
    }

    fn url(&self, user: &str) -> String {
        format!("postgres://{user}:{}@127.0.0.1:{}/postgres", self.password, self.container.port())
    }

    /// The first start makes a cluster, with a server that listens to nobody outside.
    async fn ready(&self) -> Result<()> {
        let url = self.admin_url();
        let connected = async || match connect(&url).await {
            Ok(_) => ControlFlow::Break(()),
            Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
        };
        waiting::until("Postgres in its container", START_DEADLINE, connected).await
    }
}
