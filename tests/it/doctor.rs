//! What the doctor finds: each process examined over HTTP, with one fault at a time.

use anyhow::{Context, Result};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use tests::{
    order::Order,
    ports::Port,
    process::Process,
    system::{Role, System},
    url::as_user,
    waiting,
};

use crate::own_node::OwnNode;

const ROLES: [Role; 3] = [Role::Producer, Role::Inventory, Role::Fulfillment];

/// What is wrong with a process: its findings that are not ok, each with a remedy.
async fn faults(process: &Process) -> Result<Vec<Value>> {
    let examination: Value = process.get("/v1/doctor").await?.error_for_status()?.json().await?;
    assert_eq!(examination["service"], process.name());
    assert!(examination["checked_at"].is_string());
    let findings = examination["findings"].as_array().context("findings")?.clone();
    assert!(!findings.is_empty());
    for finding in &findings {
        assert_eq!(finding["remedy"].is_string(), finding["status"] != "ok", "{finding}");
    }
    Ok(findings.into_iter().filter(|finding| finding["status"] != "ok").collect())
}

/// Asks again until the process has this to say of this subject, and returns the finding.
async fn fault(process: &Process, check: &str, subject: &str, status: &str) -> Result<Value> {
    let asked = async || match faults(process).await {
        Ok(faults) => {
            let wanted = |found: &&Value| {
                let named = found["subject"].as_str().is_some_and(|name| name.contains(subject));
                found["check"] == check && found["status"] == status && named
            };
            match faults.iter().find(wanted) {
                Some(found) => std::ops::ControlFlow::Break(found.clone()),
                None => std::ops::ControlFlow::Continue(format!("{faults:?}")),
            }
        }
        Err(fault) => std::ops::ControlFlow::Continue(format!("{fault:#}")),
    };
    let what = format!("{} to find {check} {subject} {status}", process.name());
    waiting::until(&what, waiting::PATIENCE, asked).await
}

/// Waits until the process finds nothing wrong.
async fn sound(process: &Process) -> Result<()> {
    let asked = async || match faults(process).await {
        Ok(faults) if faults.is_empty() => std::ops::ControlFlow::Break(()),
        Ok(faults) => std::ops::ControlFlow::Continue(format!("{faults:?}")),
        Err(fault) => std::ops::ControlFlow::Continue(format!("{fault:#}")),
    };
    waiting::until(&format!("{} to be sound", process.name()), waiting::PATIENCE, asked).await
}

fn says(finding: &Value, words: &[&str]) {
    for word in words {
        assert!(finding.to_string().contains(word), "{word:?} is not in {finding}");
    }
}

#[tokio::test]
async fn a_healthy_system_has_no_findings_and_its_apis_are_not_called() -> Result<()> {
    let system = System::start().await?;
    for role in ROLES {
        sound(system.process(role)?).await?;
    }
    assert!(system.inventory_api.calls().is_empty() && system.fulfillment_api.calls().is_empty());
    // Nor is anything left behind on the broker, or taken from it.
    let placed = system.place(&Order::healthy()).await?;
    let order = system.wait_settled(&placed.order_id).await?;
    assert_eq!(order["status"], "delivered");
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
    // It takes events again.
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
    // Of all that differs, the broker names one: that dead letters would be lost.
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
    // The other queues are none the worse for it.
    let others = faults(producer).await?;
    assert!(others.iter().all(|found| found["status"] == "warning" || found["subject"] == queue), "{others:?}");
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
        assert!(!found.to_string().contains("hush-hush"), "{found}");
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_permission_is_reported_with_the_resource_it_concerns() -> Result<()> {
    let Some(node) = OwnNode::take().await? else { return Ok(()) };
    let url = |password: &str| as_user(&node.url(), "limited", password);
    let mut system = System::builder().broker(&node.url()).without(Role::Inventory).start().await?;
    let queue = system.names.inventory();
    let exchange = system.names.exchange().to_owned();
    node.ctl(&["add_user", "limited", "hush-hush"]).await?;
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
            node.ctl(&["set_permissions", "limited", configure, write, read]).await?;
        }
        let worker = system.start_process(Role::Inventory, &[("AMQP_URL", &url(password)?)])?;
        let found = fault(worker, "rights", subject, "error").await?;
        says(&found, &words);
        assert!(!found.to_string().contains("hush-hush"), "{found}");
        system.terminate(Role::Inventory).await?;
    }
    // With all of them, it is well.
    node.ctl(&["set_permissions", "limited", &mine, &all, &mine]).await?;
    let worker = system.start_process(Role::Inventory, &[("AMQP_URL", &url("hush-hush")?)])?;
    sound(worker).await?;
    node.ctl(&["delete_user", "limited"]).await?;
    drop(system);
    node.leave();
    Ok(())
}

#[tokio::test]
async fn an_alarm_of_the_broker_is_reported_with_its_remedy() -> Result<()> {
    let Some(node) = OwnNode::take().await? else { return Ok(()) };
    let system = System::builder().broker(&node.url()).start().await?;
    for role in ROLES {
        sound(system.process(role)?).await?;
    }
    node.ctl(&["set_vm_memory_high_watermark", "0.000001"]).await?;
    for role in ROLES {
        let found = fault(system.process(role)?, "alarm", "127.0.0.1", "error").await?;
        says(&found, &["memory", "rabbitmq-diagnostics"]);
    }
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).await?;
    for role in ROLES {
        sound(system.process(role)?).await?;
    }
    drop(system);
    node.leave();
    Ok(())
}
