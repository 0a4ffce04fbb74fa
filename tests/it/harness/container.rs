//! Containers through testcontainers, if an engine has the images or can be given them.

use std::{io::Write as _, process::Command};

use anyhow::Result;
use tests::{
    broker::Broker,
    postgres::{Postgres, Syncs, connect},
    server::Container,
};

use super::durability::{broker_keeps_its_data, postgres_keeps_its_data};
use crate::images;

/// Whether the image is available; prints why if it is not.
async fn provided(image: &str) -> Result<bool> {
    let provided = images::provide(&[image]).await?;
    if let Err(reason) = &provided {
        // The test runner does not capture this: a test that did not run must say so.
        writeln!(std::io::stderr(), "SKIPPED the container of {image}: {reason}")?;
    }
    Ok(provided.is_ok())
}

/// Whether the container exists, and if so, whether a port is open to other machines.
fn open_ports(name: &str) -> Result<Option<bool>> {
    let output = Command::new("docker").args(["container", "inspect", name]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let open = text.contains("\"HostIp\": \"0.0.0.0\"") || text.contains("\"HostIp\": \"\"");
    Ok(output.status.success().then_some(open))
}

#[tokio::test]
async fn a_rabbitmq_container_keeps_its_data_until_it_is_removed() -> Result<()> {
    if !provided("rabbitmq:4").await? {
        return Ok(());
    }
    let broker = Broker::Container(Container::start(()).await?);
    let Broker::Container(container) = &broker else { unreachable!() };
    assert_eq!(open_ports(container.name())?, Some(false));
    broker_keeps_its_data(&broker).await?;

    let name = container.name().to_owned();
    drop(broker);
    assert_eq!(open_ports(&name)?, None, "it is gone");
    Ok(())
}

#[tokio::test]
async fn a_postgres_container_keeps_its_data_until_it_is_removed() -> Result<()> {
    if !provided("postgres:17").await? {
        return Ok(());
    }
    let postgres = Postgres::Container(Container::start(Syncs::On).await?);
    let Postgres::Container(container) = &postgres else { unreachable!() };
    assert_eq!(open_ports(container.name())?, Some(false));
    let client = connect(&postgres.url()).await?;
    let version: String = client.query_one("SHOW server_version", &[]).await?.get(0);
    assert!(version.starts_with("17."), "{version}");
    postgres_keeps_its_data(&postgres).await?;

    let name = container.name().to_owned();
    drop(postgres);
    assert_eq!(open_ports(&name)?, None, "it is gone");
    Ok(())
}
