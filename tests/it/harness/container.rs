//! Containers through testcontainers, if an engine has the images or can be given them.

use std::{io::Write as _, process::Command};

use anyhow::Result;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use tests::{
    broker::Broker,
    postgres::{Postgres, Syncs},
    queues::Queues,
    server::Container,
};

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
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let queues = Queues::connect(&broker.url()).await?;
    queues.declare_queue("kept", quorum).await?;
    queues.publish("", "kept", b"one", BasicProperties::default()).await?;
    drop(queues);
    broker.stop().await?;
    broker.start_again().await?;
    broker.crash().await?;
    assert!(Queues::connect(&broker.url()).await.is_err(), "nothing listens");
    broker.start_again().await?;
    assert_eq!(Queues::connect(&broker.url()).await?.next("kept").await?.body, b"one");
    assert!(broker.ctl(&["list_queues", "name"]).await?.contains("kept"));
    assert!(broker.ctl(&["no_such_command"]).await.is_err());

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
    let database = postgres.fresh_database().await?;
    let client = database.connect().await?;
    client.batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").await?;
    let version: String = client.query_one("SHOW server_version", &[]).await?.get(0);
    assert!(version.starts_with("17."), "{version}");
    postgres.stop().await?;
    assert!(database.connect().await.is_err(), "nothing listens");
    postgres.start_again().await?;
    database.connect().await?.batch_execute("INSERT INTO kept VALUES (2)").await?;
    postgres.crash().await?;
    postgres.start_again().await?;
    let kept = database.connect().await?.query("SELECT id FROM kept ORDER BY id", &[]).await?;
    assert_eq!(kept.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 2]);

    let name = container.name().to_owned();
    drop(database);
    drop(postgres);
    assert_eq!(open_ports(&name)?, None, "it is gone");
    Ok(())
}
