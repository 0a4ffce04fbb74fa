//! Deliveries that wait for their next attempt in the store.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use api::{Delivery, DeliveryStatus, OrderStatus, Problem, Reason, Steered};
use common::{
    event::{Decoded, OrderCreated, decode, now},
    outcome::{Attempt, Handover, Outcome, OutcomeStatus, Progress, Report},
};
use jiff::{SignedDuration, Timestamp};
use lapin::BasicProperties;
use serde_json::json;
use tests::{
    fake_api::Behaviour,
    order::Order,
    queues::Message,
    system::{Response, Role, System},
};

use crate::{
    operator, orders,
    stores::{Store, over_both_stores},
};

over_both_stores!(
    a_delivery_that_waits_goes_on_after_everything_was_killed,
    orders_that_wait_for_long_survive_the_end_of_everything_and_go_on_when_asked,
    a_delivery_that_waits_can_be_cancelled_and_sent_again,
    an_order_is_dead_only_together_with_its_dead_letter,
);

/// The event that is next in the queue of the inventory API.
pub(crate) async fn next_event(system: &System) -> Result<(Message, OrderCreated)> {
    let message = system.queues().await?.next(&system.names.inventory()).await?;
    let Decoded::OrderCreated(event) = decode(&message.body)? else { anyhow::bail!("no order: {message:?}") };
    Ok((message, *event))
}

fn header(message: &Message, name: &str) -> Option<String> {
    let headers = message.properties.headers().as_ref()?;
    headers.inner().get(name)?.as_long_string().map(ToString::to_string)
}

/// Reports as a worker does.
pub(crate) async fn report(system: &System, outcomes: Vec<Outcome>, progress: Vec<Progress>) -> Result<()> {
    let body = serde_json::to_vec(&Report { outcomes, progress })?;
    let properties = BasicProperties::default().with_delivery_mode(2);
    system.queues().await?.publish("", &system.names.outcomes(), &body, properties).await
}

fn attempt() -> Attempt {
    let answer = Some("come back later".to_owned());
    Attempt { at: now(), duration_ms: 7, status_code: Some(503), error: None, answer, spent: None }
}

/// A delivery that has made an attempt, and waits in the store until `at`.
pub(crate) fn waits(event: &OrderCreated, body: &[u8], at: Timestamp) -> Result<Progress> {
    Ok(Progress {
        event_id: event.event_id,
        order_id: event.order_id,
        correlation_id: event.correlation_id.clone(),
        destination: "inventory".parse()?,
        dead_letter: None,
        attempts: vec![attempt()],
        next_attempt_at: at,
        handover: Some(Handover {
            event: String::from_utf8(body.to_vec())?,
            traceparent: None,
            spent: Some(1),
            unanswered: false,
            retry_until: at + SignedDuration::from_hours(1),
        }),
    })
}

async fn wait_for_inventory(
    system: &System,
    order_id: &str,
    what: &str,
    wanted: impl Fn(&Delivery) -> bool,
) -> Result<Delivery> {
    let order = system.wait_for_order(order_id, what, |order| wanted(&order.deliveries["inventory"])).await?;
    order.deliveries.get("inventory").cloned().context("inventory")
}

async fn a_delivery_that_waits_goes_on_after_everything_was_killed(store: &Store) -> Result<()> {
    let mut system = store.builder().without_workers().start().await?;
    let placed = system.place(&Order::healthy()).await?;
    let (message, event) = next_event(&system).await?;
    assert_eq!(header(&message, "x-tandem-takes-waits").as_deref(), Some("1"));
    let at = now() + SignedDuration::from_secs(4);
    report(&system, vec![], vec![waits(&event, &message.body, at)?]).await?;
    let waiting =
        wait_for_inventory(&system, &placed.order_id, "a wait", |delivery| delivery.next_attempt_at.is_some()).await?;
    assert_eq!((waiting.status.known(), waiting.next_attempt_at), (Some(DeliveryStatus::Pending), Some(at)));
    assert_eq!(waiting.attempts[0].answer.as_deref(), Some("come back later"));

    system.kill9(Role::Producer).await?;
    system.start_ready(Role::Producer).await?;
    let (again, same) = next_event(&system).await?;
    ensure!(now() >= at, "it was published before its time");
    assert_eq!((same.event_id, &again.body), (event.event_id, &message.body));
    assert_eq!(again.properties.message_id(), message.properties.message_id());
    assert_eq!(header(&again, "x-tandem-spent").as_deref(), Some("1"));
    ensure!(header(&again, "x-tandem-retry-until").is_some());

    // It comes once, and ends as any other.
    let delivered = Outcome {
        event_id: event.event_id,
        order_id: event.order_id,
        correlation_id: event.correlation_id.clone(),
        destination: "inventory".parse()?,
        status: OutcomeStatus::Delivered,
        reason: None,
        attempts: vec![attempt()],
        settled_at: now(),
        dead_letter: None,
    };
    report(&system, vec![delivered], vec![]).await?;
    let ended = wait_for_inventory(&system, &placed.order_id, "an end", |delivery| {
        delivery.status == DeliveryStatus::Delivered
    });
    let ended = ended.await?;
    assert_eq!((ended.attempts.len(), ended.next_attempt_at), (2, None));
    assert_eq!(system.queues().await?.depth(&system.names.inventory()).await?.ready, 0);
    Ok(())
}

async fn an_order_is_dead_only_together_with_its_dead_letter(store: &Store) -> Result<()> {
    // Nothing takes the copy from its queue.
    let system = store.builder().without_collector().start().await?;
    for order_id in operator::refused(&system, 3, "SKU-refused", 422).await? {
        let order = system.order(&order_id).await?;
        ensure!(order.status == OrderStatus::PartiallyDelivered, "{order:?}");
        let letters = system.wait_for_dead_letters(&format!("order_id={order_id}"), 1).await?;
        let letter = system.dead_letter(&letters[0].id).await?;
        assert_eq!((letter.destination.as_str(), letter.attempts.len()), ("inventory", 1));
        let event: OrderCreated = serde_json::from_str(&letter.body)?;
        assert_eq!(event.order_id.to_string(), order_id);
    }
    Ok(())
}

/// A system whose inventory worker waits for a quarter of an hour at least after an attempt that failed.
async fn patient(store: &Store) -> Result<System> {
    let builder = store.builder().env(Role::Inventory, "BACKOFF_INITIAL", "30m");
    builder.env(Role::Inventory, "BACKOFF_MAX", "1h").start().await
}

async fn steer(system: &System, order_id: &str, verb: &str) -> Result<Response> {
    system.post_at(&format!("/v1/orders/{order_id}/deliveries/inventory/{verb}"), &json!({}), &[]).await
}

/// Waits until the delivery to inventory waits in the store.
async fn wait_for_wait(system: &System, order_id: &str) -> Result<Delivery> {
    let waits = |delivery: &Delivery| delivery.next_attempt_at.is_some() && delivery.attempts.len() == 1;
    wait_for_inventory(system, order_id, "a wait", waits).await
}

async fn orders_that_wait_for_long_survive_the_end_of_everything_and_go_on_when_asked(store: &Store) -> Result<()> {
    let mut system = patient(store).await?;
    let order_ids = orders::place(&system, 20, &Order::of("inventory-fail-1")).await?;
    for order_id in &order_ids {
        let waiting = wait_for_wait(&system, order_id).await?;
        ensure!(waiting.next_attempt_at > Some(now() + SignedDuration::from_mins(10)), "{waiting:?}");
    }
    // Fresh orders do not wait behind them.
    let healthy = orders::place(&system, 20, &Order::healthy()).await?;
    orders::delivered_once(&system, &healthy).await?;
    for role in [Role::Producer, Role::Inventory, Role::Fulfillment] {
        system.kill9(role).await?;
    }
    for role in [Role::Producer, Role::Inventory, Role::Fulfillment] {
        system.start_ready(role).await?;
    }
    for order_id in &order_ids {
        let answer: Steered = steer(&system, order_id, "retry").await?.expect(202)?;
        assert_eq!((&answer.order_id, answer.destination.as_str()), (order_id, "inventory"));
    }
    for order in orders::settled(&system, &order_ids).await? {
        assert_eq!(order.status, OrderStatus::Delivered);
        let delivery = &order.deliveries["inventory"];
        assert_eq!(
            delivery.attempts.iter().map(|attempt| attempt.status_code).collect::<Vec<_>>(),
            [Some(503), Some(200)]
        );
        let keys: BTreeSet<_> =
            system.inventory_api.calls_about(&order.order_id).iter().map(|call| call.idempotency_key.clone()).collect();
        assert_eq!(keys.len(), 1, "{keys:?}");
        let ended = steer(&system, &order.order_id, "retry").await?.expect::<Problem>(409)?;
        assert_eq!(ended.uri, "/problems/delivery-ended");
    }
    Ok(())
}

async fn a_delivery_that_waits_can_be_cancelled_and_sent_again(store: &Store) -> Result<()> {
    let system = patient(store).await?;
    system.inventory_api.set_rule("SKU-ill", Behaviour::Status(503));
    let placed = system.place(&Order::of("SKU-ill")).await?;
    wait_for_wait(&system, &placed.order_id).await?;
    steer(&system, &placed.order_id, "cancel").await?.expect::<Steered>(202)?;
    let order = system.wait_settled(&placed.order_id).await?;
    let delivery = &order.deliveries["inventory"];
    assert_eq!(
        (delivery.status.known(), &delivery.reason),
        (Some(DeliveryStatus::DeadLettered), &Some(Reason::Cancelled.into()))
    );
    let letters = system.wait_for_dead_letters(&format!("order_id={}", placed.order_id), 1).await?;
    assert_eq!((&letters[0].reason, letters[0].attempts.len()), (&Reason::Cancelled.into(), 1));
    assert_eq!(
        steer(&system, &placed.order_id, "cancel").await?.expect::<Problem>(409)?.uri,
        "/problems/delivery-ended"
    );

    operator::accept(&system, "SKU-ill");
    let redrive = operator::start(&system, &json!({"ids": [letters[0].id]})).await?;
    operator::wait_for(&system, &redrive, "delivered", |redrive| redrive.delivered == 1).await?;
    assert_eq!(system.wait_settled(&placed.order_id).await?.status, OrderStatus::Delivered);

    // What is with a worker cannot be cancelled, and what does not exist neither.
    let hanging = system.place(&Order::of("inventory-hang-1")).await?;
    system.inventory_api.wait_for_calls(&hanging.order_id, 1).await?;
    let refused = steer(&system, &hanging.order_id, "cancel").await?;
    assert_eq!((refused.header("retry-after"), refused.status), (Some("10"), 409));
    assert_eq!(refused.expect::<Problem>(409)?.uri, "/problems/delivery-under-way");
    steer(&system, &hanging.order_id, "retry").await?.expect::<Steered>(202)?;
    let path = format!("/v1/orders/{}/deliveries/nowhere/retry", hanging.order_id);
    let unknown = system.post_at(&path, &json!({}), &[]).await?.expect::<Problem>(404)?;
    assert_eq!(unknown.uri, "/problems/unknown-delivery");
    let unknown = steer(&system, "0199d0c4-5b1e-7c32-9f2e-5d1b7f3a2c44", "retry").await?.expect::<Problem>(404)?;
    assert_eq!(unknown.uri, "/problems/unknown-order");
    Ok(())
}
