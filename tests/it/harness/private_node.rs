use std::{io::Write, path::Path, time::Duration};

use anyhow::{Context, Result};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use tests::{
    broker::{Broker, Installation, PrivateNode},
    process::Program,
    queues::Queues,
    waiting::PATIENCE,
};

use super::leftovers::{processes_in, wait_until_removed};

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
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let queues = Queues::connect(&broker.url()).await?;
    queues.declare_queue("kept", quorum).await?;
    queues.publish("", "kept", b"one", BasicProperties::default()).await?;
    drop(queues);

    let first = node.pid().context("it runs")?;
    broker.restart().await?;
    assert_ne!(node.pid(), Some(first), "another process serves the same port");
    let queues = Queues::connect(&broker.url()).await?;
    queues.publish("", "kept", b"two", BasicProperties::default()).await?;
    drop(queues);

    broker.crash().await?;
    assert_eq!(node.pid(), None);
    assert!(Queues::connect(&broker.url()).await.is_err(), "nothing listens");
    broker.start_again().await?;
    let queues = Queues::connect(&broker.url()).await?;
    queues.wait_for_depth("kept", "two messages", |depth| depth.ready == 2).await?;
    assert_eq!(queues.next("kept").await?.body, b"one");
    assert_eq!(queues.get("kept").await?.context("a second message")?.body, b"two");

    assert!(broker.ctl(&["list_queues", "name"]).await?.contains("kept"));
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
