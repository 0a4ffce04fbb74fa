use anyhow::Result;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use tests::{
    broker::{Broker, Container},
    queues::Queues,
};

#[tokio::test]
async fn a_container_keeps_what_it_confirmed_through_stop_and_kill_and_is_removed() -> Result<()> {
    if !Container::is_at_hand().await {
        eprintln!("skipped: no Docker Engine answers, or it has no image of RabbitMQ");
        return Ok(());
    }
    let broker = Broker::Container(Container::start().await?);
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let queues = Queues::connect(broker.amqp_url()).await?;
    queues.declare_queue("kept", quorum).await?;
    queues.publish("", "kept", b"one", BasicProperties::default()).await?;
    drop(queues);
    broker.stop().await?;
    broker.start().await?;
    broker.kill().await?;
    assert!(Queues::connect(broker.amqp_url()).await.is_err(), "nothing listens");
    broker.start().await?;
    assert_eq!(Queues::connect(broker.amqp_url()).await?.next("kept").await?.body, b"one");
    assert!(broker.ctl(&["list_queues", "name"]).await?.contains("kept"));

    let Broker::Container(container) = &broker else { unreachable!() };
    let name = container.name().to_owned();
    drop(broker);
    let left = std::process::Command::new("docker").args(["container", "inspect", &name]).output()?;
    assert!(!left.status.success(), "it is gone");
    Ok(())
}
