//! What a server keeps through a stop and a crash, however it was started.

use anyhow::{Context, Result};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use tests::{broker::Broker, postgres::Postgres, queues::Queues};

/// A broker keeps what it confirmed, and serves the same port.
pub(super) async fn broker_keeps_its_data(broker: &Broker) -> Result<()> {
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let queues = Queues::connect(&broker.url()).await?;
    queues.declare_queue("kept", quorum).await?;
    queues.publish("", "kept", b"one", BasicProperties::default()).await?;
    drop(queues);

    broker.restart().await?;
    let queues = Queues::connect(&broker.url()).await?;
    queues.publish("", "kept", b"two", BasicProperties::default()).await?;
    drop(queues);

    broker.crash().await?;
    assert!(Queues::connect(&broker.url()).await.is_err(), "nothing listens");
    assert!(broker.crash().await.is_err(), "it does not run");
    broker.start_again().await?;
    let queues = Queues::connect(&broker.url()).await?;
    queues.wait_for_depth("kept", "two messages", |depth| depth.ready == 2).await?;
    assert_eq!(queues.next("kept").await?.body, b"one");
    assert_eq!(queues.get("kept").await?.context("a second message")?.body, b"two");
    assert!(broker.ctl(&["list_queues", "name"]).await?.contains("kept"));
    assert!(broker.ctl(&["no_such_command"]).await.is_err());
    Ok(())
}

/// A Postgres keeps what it committed, and serves the same port.
pub(super) async fn postgres_keeps_its_data(postgres: &Postgres) -> Result<()> {
    let database = postgres.fresh_database().await?;
    database.connect().await?.batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").await?;

    postgres.stop().await?;
    assert!(database.connect().await.is_err(), "nothing listens");
    assert!(postgres.crash().await.is_err(), "it does not run");
    postgres.start_again().await?;
    let client = database.connect().await?;
    client.batch_execute("INSERT INTO kept VALUES (2)").await?;

    postgres.crash().await?;
    assert!(client.query("SELECT 1", &[]).await.is_err(), "its connections are gone");
    postgres.start_again().await?;
    let kept = database.connect().await?.query("SELECT id FROM kept ORDER BY id", &[]).await?;
    assert_eq!(kept.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 2]);
    Ok(())
}
