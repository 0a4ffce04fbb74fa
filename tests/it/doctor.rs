//! What the doctor finds: each process is examined over HTTP, with one fault at a time.

use std::ops::ControlFlow;

use anyhow::Result;
use common::doctor::{Examination, Finding, Status};
use lapin::types::{AMQPValue, FieldTable};
use tests::{
    order::Order,
    ports::Port,
    process::Process,
    system::{Role, System},
    url::as_user,
    waiting::{PATIENCE, until},
};

use crate::own_broker::OwnBroker;

const ROLES: [Role; 3] = [Role::Producer, Role::Inventory, Role::Fulfillment];

/// The findings of a process that are not ok, each with a remedy.
async fn faults(process: &Process) -> Result<Vec<Finding>> {
    let examination: Examination = process.get("/v1/doctor").await?.error_for_status()?.json().await?;
    assert_eq!(examination.service, process.name());
    let mut findings = examination.findings;
    assert!(!findings.is_empty());
    for finding in &findings {
        assert_eq!(finding.remedy.is_some(), finding.status != Status::Ok, "{finding:?}");
    }
    findings.retain(|finding| finding.status != Status::Ok);
    Ok(findings)
}

/// Waits until the process has this finding about this subject, and returns it.
async fn fault(process: &Process, check: &str, subject: &str, status: &str) -> Result<Finding> {
    let asked = async || match faults(process).await {
        Ok(faults) => {
            let wanted = |found: &&Finding| {
                (found.check.as_str(), found.status.as_str()) == (check, status) && found.subject.contains(subject)
            };
            match faults.iter().find(wanted) {
                Some(found) => ControlFlow::Break(found.clone()),
                None => ControlFlow::Continue(format!("{faults:?}")),
            }
        }
        Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
    };
    until(&format!("{} to find {check} {subject} {status}", process.name()), PATIENCE, asked).await
}

/// Waits until the process has no finding that is not ok.
async fn healthy(process: &Process) -> Result<()> {
    let asked = async || match faults(process).await {
        Ok(faults) if faults.is_empty() => ControlFlow::Break(()),
        Ok(faults) => ControlFlow::Continue(format!("{faults:?}")),
        Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
    };
    until(&format!("{} to be healthy", process.name()), PATIENCE, asked).await
}

fn says(finding: &Finding, words: &[&str]) {
    for word in words {
        assert!(format!("{finding:?}").contains(word), "{word:?} is not in {finding:?}");
    }
}

#[tokio::test]
async fn a_healthy_system_has_no_findings_and_its_apis_are_not_called() -> Result<()> {
    let system = System::start().await?;
    for role in ROLES {
        healthy(system.process(role)?).await?;
    }
    assert!(system.inventory_api.calls().is_empty() && system.fulfillment_api.calls().is_empty());
    // It leaves nothing on the broker, and takes nothing from it.
    let placed = system.place(&Order::healthy()).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order.status, api::OrderStatus::Delivered);
    for queue in [system.names.inventory(), system.names.fulfillment(), system.names.outcomes()] {
        let queues = system.queues().await?;
        queues.wait_for_depth(&queue, "its one consumer", |depth| (depth.ready, depth.consumers) == (0, 1)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_queue_is_reported_and_declared_again() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    let producer = system.producer()?;
    let (queues, queue) = (system.queues().await?, system.names.inventory());
    fault(producer, "consumers", &queue, "warning").await?;
    system.delete_queue(&queue).await?;
    let found = fault(producer, "queue", &queue, "warning").await?;
    says(&found, &["did not exist", "declared again", "reconciliation"]);
    assert!(queues.exists(&queue).await?);
    // It receives events again.
    system.place(&Order::healthy()).await?;
    queues.wait_for_depth(&queue, "one event", |depth| depth.ready == 1).await?;
    let found = fault(producer, "consumers", &queue, "error").await?;
    says(&found, &["1 message waits", "worker"]);
    Ok(())
}

#[tokio::test]
async fn a_queue_with_other_properties_is_reported_with_the_difference() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    let producer = system.producer()?;
    let (queues, queue) = (system.queues().await?, system.names.inventory());
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("classic"));
    system.delete_queue(&queue).await?;
    queues.declare_queue(&queue, arguments.clone()).await?;
    // The broker names one of the differences: dead letters would be lost.
    let found = fault(producer, "dead_letter_exchange", &queue, "error").await?;
    says(&found, &["x-dead-letter-exchange", "none", "delete it"]);

    // The right type, and another limit.
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-dead-letter-exchange".into(), text(&system.names.dead_letter_exchange()));
    arguments.insert("x-dead-letter-routing-key".into(), text(&queue));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(3));
    queues.delete_queue(&queue).await?;
    queues.declare_queue(&queue, arguments.clone()).await?;
    says(&fault(producer, "delivery_limit", &queue, "error").await?, &["x-delivery-limit", "3", "100"]);

    let nowhere = format!("{}.nowhere", system.names.exchange());
    arguments.insert("x-dead-letter-exchange".into(), text(&nowhere));
    system.delete_queue(&queue).await?;
    queues.declare_queue(&queue, arguments).await?;
    let found = fault(producer, "dead_letter_exchange", &queue, "error").await?;
    says(&found, &["x-dead-letter-exchange", &nowhere]);
    // The other queues are not affected.
    let others = faults(producer).await?;
    assert!(others.iter().all(|found| found.status == Status::Warning || found.subject == queue), "{others:?}");
    // With a dead-letter exchange that exists, the queue can be deleted.
    queues.declare_exchange(&nowhere, lapin::ExchangeKind::Direct).await?;
    queues.delete_dead_lettering_queue(&queue, &nowhere).await?;
    queues.delete_exchange(&nowhere).await
}

#[tokio::test]
async fn an_unreachable_api_is_explained_without_calling_it() -> Result<()> {
    let mut system = System::builder().without_workers().start().await?;
    let port = Port::choose()?;
    let shut = format!("http://127.0.0.1:{}", port.number());
    let no_tls = system.inventory_api.url().replace("http://", "https://");
    for (url, words) in [
        (&*shut, ["accepts no connection", "start the server"]),
        ("http://no-such-host.invalid", ["does not resolve", "DNS"]),
        (&no_tls, ["TLS fails", "certificate"]),
    ] {
        let worker = system.start_process(Role::Inventory, &[("INVENTORY_API_URL", url)])?;
        says(&fault(worker, "downstream", "inventory", "error").await?, &words);
        system.terminate(Role::Inventory).await?;
    }
    assert!(system.inventory_api.calls().is_empty());
    Ok(())
}

#[tokio::test]
async fn an_unreachable_broker_is_distinguished_from_another_server() -> Result<()> {
    let api = tests::fake_api::FakeApi::start(tests::fake_api::Options::default())?;
    let other = format!("amqp://guest:hush-hush@{}", api.address());
    let port = Port::choose()?;
    let shut = format!("amqp://guest:hush-hush@127.0.0.1:{}", port.number());
    for (url, words) in [
        (shut, ["accepts no connection", "AMQP_URL"]),
        ("amqp://guest:hush-hush@no-such-host.invalid".to_owned(), ["does not resolve", "AMQP_URL"]),
        (other, ["AMQP", "5672"]),
    ] {
        let system = System::builder().broker(&url).without_workers().not_waiting_for_readiness().start().await?;
        let found = fault(system.producer()?, "broker", "", "error").await?;
        says(&found, &words);
        assert!(!format!("{found:?}").contains("hush-hush"), "{found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_permission_is_reported_with_the_resource_it_concerns() -> Result<()> {
    let Some(broker) = OwnBroker::take().await? else { return Ok(()) };
    let url = |password: &str| as_user(&broker.url(), "limited", password);
    let mut system = System::builder().broker(&broker.url()).without(Role::Inventory).start().await?;
    let queue = system.names.inventory();
    let exchange = system.names.exchange().to_owned();
    broker.ctl(&["add_user", "limited", "hush-hush"]).await?;
    let mine = format!("^{exchange}.*");
    let all_but_the_queue = format!("^{exchange}(?!\\.inventory$).*");
    let all = format!("^(amq\\.default|{exchange}.*)$");
    let cases = [
        ("wrong", None, "", vec!["user or the password", "set_permissions"]),
        ("hush-hush", None, "", vec!["virtual host", "set_permissions"]),
        ("hush-hush", Some(["^$", &all, &mine]), &*exchange, vec!["configure", "set_permissions"]),
        ("hush-hush", Some([&mine, &all, &all_but_the_queue]), &*queue, vec!["read", "set_permissions"]),
        ("hush-hush", Some([&mine, &mine, &mine]), "amq.default", vec!["write", "set_permissions"]),
    ];
    for (password, permissions, subject, words) in cases {
        if let Some([configure, write, read]) = permissions {
            broker.ctl(&["set_permissions", "limited", configure, write, read]).await?;
        }
        let worker = system.start_process(Role::Inventory, &[("AMQP_URL", &url(password)?)])?;
        let found = fault(worker, "rights", subject, "error").await?;
        says(&found, &words);
        assert!(!format!("{found:?}").contains("hush-hush"), "{found:?}");
        system.terminate(Role::Inventory).await?;
    }
    // With all permissions, it is healthy.
    broker.ctl(&["set_permissions", "limited", &mine, &all, &mine]).await?;
    let worker = system.start_process(Role::Inventory, &[("AMQP_URL", &url("hush-hush")?)])?;
    healthy(worker).await?;
    broker.ctl(&["delete_user", "limited"]).await?;
    drop(system);
    broker.give_back();
    Ok(())
}

#[tokio::test]
async fn an_alarm_of_the_broker_is_reported_with_its_remedy() -> Result<()> {
    let Some(broker) = OwnBroker::take().await? else { return Ok(()) };
    let system = System::builder().broker(&broker.url()).start().await?;
    for role in ROLES {
        healthy(system.process(role)?).await?;
    }
    broker.ctl(&["set_vm_memory_high_watermark", "0.000001"]).await?;
    for role in ROLES {
        let found = fault(system.process(role)?, "alarm", "127.0.0.1", "error").await?;
        says(&found, &["memory", "rabbitmq-diagnostics"]);
    }
    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]).await?;
    for role in ROLES {
        healthy(system.process(role)?).await?;
    }
    drop(system);
    broker.give_back();
    Ok(())
}
