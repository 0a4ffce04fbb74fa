//! A database for one test.

use std::thread;

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::url;
use crate::waiting::{PATIENCE, within};

/// A database under a unique name. Dropping it removes it, even if clients are still connected.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    /// Of the user who made it, and removes it.
    admin_url: String,
}

impl Database {
    /// Makes one, owned by `owner` (the name and URL of a user), or else by the administrator.
    pub(super) async fn create(admin_url: &str, owner: Option<(&str, &str)>) -> Result<Self> {
        let name = format!("tandem_{}", Uuid::now_v7().simple());
        let admin = connect(admin_url).await?;
        let owned = owner.map(|(user, _)| format!(" OWNER {user}")).unwrap_or_default();
        // Nobody can be connected to this template, which would prevent the copy.
        let create = format!("CREATE DATABASE {name} TEMPLATE template0{owned}");
        step("new database", admin.batch_execute(&create)).await?;
        let url = url::with_database(owner.map_or(admin_url, |(_, url)| url), &name)?;
        Ok(Self { name, url, admin_url: admin_url.to_owned() })
    }

    /// For `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection as the user of [`Database::url`].
    ///
    /// # Errors
    /// The server is not reached.
    pub async fn connect(&self) -> Result<Client> {
        connect(&self.url).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (name, admin_url) = (self.name.clone(), self.admin_url.clone());
        // A thread, since a test's runtime cannot wait in here.
        let remover = thread::spawn(move || remove(&name, &admin_url));
        match remover.join() {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => eprintln!("the database {} was left: {fault:#}", self.name),
            Err(_) => eprintln!("the database {} was left: its remover panicked", self.name),
        }
    }
}

/// A connection that lives as long as the client. Without TLS.
///
/// # Errors
/// The URL is invalid, or the server is not reached.
pub async fn connect(url: &str) -> Result<Client> {
    let connected = step("connection to Postgres", tokio_postgres::connect(url, NoTls)).await;
    let (client, connection) = connected.context("cannot connect to Postgres")?;
    // Ends with the client, or with the runtime of the test; the client's next statement reports its fault.
    tokio::spawn(connection);
    Ok(client)
}

fn remove(name: &str, admin_url: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let admin = connect(admin_url).await?;
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        step("removal", admin.batch_execute(&drop)).await
    })
}

async fn step<T>(what: &str, done: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
    within(what, PATIENCE, done, || "nothing".to_owned()).await?.with_context(|| format!("no {what}"))
}
