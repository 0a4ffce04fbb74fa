//! What logs contain, and what they must never contain.

use anyhow::{Context, Result};
use lapin::BasicProperties;
use serde_json::json;
use tests::{
    binaries::{self, Profile},
    broker,
    log::Line,
    order::Order,
    process::Program,
    system::{Placed, Role, System},
    url::as_user,
};
use uuid::Uuid;

use crate::{exit::Exit, orders};

const ROLES: [Role; 3] = [Role::Producer, Role::Inventory, Role::Fulfillment];

#[tokio::test]
async fn every_log_line_about_an_order_has_its_ids() -> Result<()> {
    let system = System::builder().with_quick_retries().env(Role::Fulfillment, "MAX_ATTEMPTS", 2).start().await?;
    let probe = crate::probe::Probe::on(&system).await?;
    for product in ["SKU-1", "fail-1", "inventory-status-422", "fulfillment-status-503", "cut-after-acting"] {
        let correlation_id = format!("request-{product}");
        let body = serde_json::to_vec(&Order::of(product))?;
        let response =
            system.post(&body, &[("x-correlation-id", &correlation_id), ("idempotency-key", product)]).await?;
        let placed = Placed::from_response(&response)?;
        system.wait_settled(&placed.order_id).await?;
        let event: serde_json::Value = serde_json::from_slice(&probe.next(&system).await?.body)?;
        let event_id = event["event_id"].as_str().context("event_id")?;
        // There is a line for each of these at debug.
        let published = |line: &Line| line.says("published") && line.text.contains(&placed.order_id);
        system.producer()?.wait_for_log("the publication", published).await?;
        let ended = |line: &Line| {
            line.text.contains(&placed.order_id) && (line.says("delivered") || line.says("dead-lettered"))
        };
        system.process(Role::Inventory)?.wait_for_log("the end of a delivery", ended).await?;
        system.process(Role::Fulfillment)?.wait_for_log("the end of a delivery", ended).await?;
        for role in ROLES {
            for line in system.process(role)?.log().lines() {
                let names = |name: &str| line.text.contains(name);
                if !(names(&placed.order_id) || names(&correlation_id) || names(event_id)) {
                    continue;
                }
                let ids = (line.field("order_id"), line.field("correlation_id"));
                assert_eq!(ids, (Some(&*placed.order_id), Some(&*correlation_id)), "{}: {}", role.binary(), line.text);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn at_info_a_dead_letter_is_one_warning_and_a_success_is_silent() -> Result<()> {
    let info = |builder: tests::system::SystemBuilder, role| builder.env(role, "LOG_LEVEL", "info");
    let system = ROLES.into_iter().fold(System::builder(), info).start().await?;
    let delivered = system.place(&Order::healthy()).await?;
    let dead = system.place(&Order::of("inventory-status-422")).await?;
    orders::settled(&system, &[delivered.order_id.clone(), dead.order_id.clone()]).await?;
    let died = |line: &Line| line.says("dead-lettered");
    system.process(Role::Inventory)?.wait_for_log("the dead letter", died).await?;
    let about = |order_id: &str| -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for role in ROLES {
            lines.extend(system.process(role)?.log().lines());
        }
        lines.retain(|line| line.text.contains(order_id));
        Ok(lines)
    };
    assert_eq!(about(&delivered.order_id)?.len(), 0);
    let lines = about(&dead.order_id)?;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let reason =
        lines[0].json.as_ref().map(|line| (line["level"].clone(), line["reason"].clone(), line["status_code"].clone()));
    assert_eq!(reason, Some((json!("WARN"), json!("rejected"), json!(422))));
    Ok(())
}

#[tokio::test]
async fn no_log_contains_a_secret_a_key_or_a_body() -> Result<()> {
    let secret = || format!("hush{}", Uuid::new_v4().simple());
    let (user, password, key, customer, product) = (secret(), secret(), secret(), secret(), secret());
    let shared = broker::shared().await?;
    // An external broker gets no new user: its own credentials are used.
    let (url, mut secrets) = if shared.ctl(&["add_user", &user, &password]).await.is_ok() {
        shared.ctl(&["set_permissions", &user, ".*", ".*", ".*"]).await?;
        (as_user(&shared.url(), &user, &password)?, vec![password.clone()])
    } else {
        (shared.url(), Vec::new())
    };
    let builder = ROLES.into_iter().fold(System::builder(), |builder, role| builder.amqp_url(role, &url));
    let mut system = builder.with_quick_retries().env(Role::Fulfillment, "MAX_ATTEMPTS", 2).start().await?;

    // A success, a recovery, a rejection, an exhaustion; a repeated key, and a key with another body.
    for (number, fate) in ["SKU-1", "fail-1", "status-422", "fulfillment-status-503"].iter().enumerate() {
        let mut order = Order::of(fate).and(&product, 1);
        order.customer_id = customer.clone();
        let (body, key) = (serde_json::to_vec(&order)?, format!("{key}-{number}"));
        let placed = Placed::from_response(&system.post(&body, &[("idempotency-key", &key)]).await?)?;
        assert_eq!(system.post(&body, &[("idempotency-key", &key)]).await?.status, 202);
        let other = serde_json::to_vec(&order.and("SKU-2", 1))?;
        assert_eq!(system.post(&other, &[("idempotency-key", &key)]).await?.status, 422);
        system.wait_settled(&placed.order_id).await?;
    }
    // Invalid bodies and headers.
    for body in [json!({"customer_id": customer, "items": product}), json!(product), json!({(&*customer): 1})] {
        assert_eq!(system.post(body.to_string().as_bytes(), &[]).await?.status, 422, "{body}");
    }
    assert_eq!(system.post(b"{}", &[("idempotency-key", &key.repeat(9))]).await?.status, 400);
    // Invalid events and reports.
    let queues = system.queues().await?;
    for body in [
        json!({"event_type": "OrderCreated", "event_id": Uuid::now_v7(), "order_id": Uuid::now_v7(), "customer_id": 7, "items": product}),
        json!({"event_type": "OrderCreated", "event_id": product}),
        json!({"event_type": 1, "items": product}),
        json!(product),
    ] {
        queues.publish(system.names.exchange(), "", body.to_string().as_bytes(), BasicProperties::default()).await?;
    }
    for destination in ["inventory", "fulfillment"] {
        system.wait_for_dead_letters(&format!("reason=unreadable&destination={destination}"), 4).await?;
    }
    let report = json!({"outcomes": product}).to_string();
    queues.publish("", &system.names.outcomes(), report.as_bytes(), BasicProperties::default()).await?;
    system.wait_for_dead_letters("destination=outcomes", 1).await?;
    // A password that the broker refuses.
    let wrong = url.replace(&password, &format!("{password}wrong"));
    let refused = system.start_process(Role::Inventory, &[("AMQP_URL", &wrong)])?;
    if wrong != url {
        refused.wait_for_log("a refusal", |line| line.text.contains("refuses access")).await?;
    }

    secrets.extend([key, customer, product, "token-for-tests".to_owned()]);
    for call in system.inventory_api.calls().into_iter().chain(system.fulfillment_api.calls()) {
        secrets.extend(call.idempotency_key);
    }
    let mut lines = Vec::new();
    for role in ROLES {
        while let Ok(process) = system.take(role) {
            process.terminate()?;
            lines.extend(Exit::of(&process).await?.lines);
        }
    }
    assert!(lines.len() > 50, "the logs are at debug");
    for line in &lines {
        for secret in &secrets {
            assert!(!line.text.contains(secret), "{secret} is in {}", line.text);
        }
    }
    let _ = shared.ctl(&["delete_user", &user]).await;
    Ok(())
}

#[tokio::test]
async fn logs_are_lines_of_text_or_json_objects() -> Result<()> {
    let settings =
        [("AMQP_URL", "amqp://127.0.0.1:9"), ("INVENTORY_API_URL", "http://127.0.0.1:9"), ("LOG_FORMAT", "text")];
    let worker =
        Program::new(binaries::build(Profile::Running)?.path("worker-inventory")?).env("HTTP_ADDR", "127.0.0.1:0");
    let worker = settings.iter().fold(worker, |worker, (name, value)| worker.env(name, value));
    let text = worker.start()?;
    let line = text.wait_for_log("listening", |line| line.text.contains("listening")).await?;
    assert!(
        line.json.is_none() && line.text.contains(" INFO ") && line.text.contains("http_addr=127.0.0.1:"),
        "{}",
        line.text
    );
    let json = worker.env("LOG_FORMAT", "json").start()?;
    json.wait_for_log("the broker", |line| line.text.contains("no session with the broker")).await?;
    json.terminate()?;
    for line in Exit::of(&json).await?.lines {
        for field in ["timestamp", "level", "message"] {
            assert!(line.field(field).is_some(), "no {field} in {}", line.text);
        }
    }
    Ok(())
}
