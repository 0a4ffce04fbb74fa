use std::{io::Write, path::Path, time::Duration};

use anyhow::{Context, Result};
use tests::{
    broker::{Broker, Installation, PrivateNode},
    process::Program,
    waiting::PATIENCE,
};

use super::{
    durability::broker_keeps_its_data,
    leftovers::{processes_in, wait_until_removed},
};

/// Nodes of several tests at a time would only slow each other down.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// `None` and a message if no RabbitMQ is installed.
fn installation() -> Option<Installation> {
    let found = Installation::find();
    if found.is_none() {
        eprintln!("skipped: no rabbitmq-server is installed here");
    }
    found
}

#[tokio::test]
async fn a_private_node_keeps_its_data_through_stop_and_kill() -> Result<()> {
    let Some(installation) = installation() else { return Ok(()) };
    let _turn = ONE_AT_A_TIME.lock().await;
    let broker = Broker::Private(PrivateNode::start(installation, ()).await?);
    let Broker::Private(node) = &broker else { unreachable!() };
    let first = node.pid().context("it runs")?;
    broker_keeps_its_data(&broker).await?;
    assert_ne!(node.pid().context("it runs")?, first, "another process serves the same port");
    let usage = node.usage()?;
    assert!(usage.cpu > Duration::from_millis(500) && usage.peak_rss > 50_000_000, "{usage:?}");
    Ok(())
}

#[tokio::test]
async fn private_nodes_start_side_by_side_and_leave_nothing_when_dropped() -> Result<()> {
    let Some(installation) = installation() else { return Ok(()) };
    let _turn = ONE_AT_A_TIME.lock().await;
    let (one, other) =
        tokio::try_join!(PrivateNode::start(installation.clone(), ()), PrivateNode::start(installation, ()))?;
    assert_ne!(one.url(), other.url());
    let directories = [one.directory().to_owned(), other.directory().to_owned()];
    for directory in &directories {
        let mut processes = processes_in(directory);
        processes.retain(|name| name == "epmd" || name == "beam.smp");
        processes.sort();
        assert_eq!(processes, ["beam.smp", "epmd"]);
    }
    drop((one, other));
    for directory in &directories {
        wait_until_removed(directory).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_private_node_does_not_outlive_an_owner_that_is_killed() -> Result<()> {
    if installation().is_none() {
        return Ok(());
    }
    let _turn = ONE_AT_A_TIME.lock().await;
    let owner = Program::new(std::env::current_exe()?)
        .env("OWNER_OF_A_NODE", "1")
        .arg("harness::private_node::owner_of_a_node_that_is_killed")
        .arg("--exact")
        .arg("--nocapture")
        .start()?;
    let line = owner.log().wait_for("the node's directory", PATIENCE, |line| line.field("directory").is_some()).await?;
    let directory = Path::new(line.field("directory").context("directory")?).to_owned();
    assert!(processes_in(&directory).contains(&"beam.smp".to_owned()));
    owner.kill9().await?;
    wait_until_removed(&directory).await
}

/// Not a test, but the process that the test above kills.
#[tokio::test]
async fn owner_of_a_node_that_is_killed() -> Result<()> {
    if std::env::var_os("OWNER_OF_A_NODE").is_none() {
        return Ok(());
    }
    let Some(installation) = installation() else { return Ok(()) };
    let node = PrivateNode::start(installation, ()).await?;
    writeln!(std::io::stdout(), "\n{}", serde_json::json!({"directory": node.directory()}))?;
    std::future::pending().await
}
