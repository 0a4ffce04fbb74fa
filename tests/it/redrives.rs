//! Dead letters that are sent again.

use std::{num::NonZeroUsize, ops::ControlFlow};

use anyhow::{Result, ensure};
use api::{
    List, OrderStatus, Problem, Redrive,
    RedriveStatus::{Cancelled, Completed, Paused, Running, Stopped},
    Refusal, Refused,
};
use serde_json::json;
use tests::{
    fake_api::Behaviour,
    postgres::fresh_database,
    system::{Role, System},
    waiting::{PATIENCE, until},
};

use crate::{
    operator::{accept, control, plan, refused, start, wait_for, wait_for_matched},
    orders,
    stores::{Store, over_both_stores},
};

over_both_stores!(
    a_redrive_sends_exactly_what_its_dry_run_counted,
    a_redrive_of_thousands_survives_two_kills_of_the_producer,
    a_redrive_whose_dead_letters_fail_again_stops_by_itself,
    a_redrive_can_be_paused_resumed_and_cancelled,
    an_edited_dead_letter_keeps_its_key_unless_a_new_one_is_requested,
    a_dead_letter_with_an_expired_key_is_refused_unless_forced,
    a_delivery_being_redriven_is_pending_with_its_earlier_attempts,
);

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

fn completed(redrive: &Redrive) -> bool {
    redrive.status == Completed
}

async fn a_redrive_sends_exactly_what_its_dry_run_counted(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let meant = refused(&system, 20, "SKU-meant", 422).await?;
    let others = refused(&system, 5, "SKU-other", 410).await?;
    let filter = json!({"destination": "inventory", "status_code": 422});
    assert_eq!(wait_for_matched(&system, &filter, 20).await?.sample.len(), 10);
    let calls_before = system.fulfillment_api.summary().calls;
    wait_for_matched(&system, &json!({}), 25).await?;

    // Slow, so that there are more dead letters before it ends, which it does not send.
    accept(&system, "SKU-meant");
    let path = start(&system, &json!({"filter": filter, "rate": 10})).await?;
    let late = refused(&system, 3, "SKU-late", 422).await?;
    let done = wait_for(&system, &path, "completed", completed).await?;
    assert_eq!((done.matched, done.sent, done.delivered), (20, 20, 20));
    assert_eq!((done.dead_lettered, done.remaining, done.cancelled), (0, 0, 0));
    for order in orders::settled(&system, &meant).await? {
        assert_eq!(order.status, OrderStatus::Delivered);
        assert_eq!(order.deliveries["inventory"].attempts.len(), 2, "{order:?}");
    }
    orders::called_once(&system.inventory_api, &meant)?;
    for order_id in others.iter().chain(&late) {
        assert_eq!(system.inventory_api.calls_about(order_id).len(), 1, "{order_id} was sent too");
        assert_eq!(system.order(order_id).await?.status, OrderStatus::PartiallyDelivered);
    }
    assert_eq!(system.fulfillment_api.summary().calls, calls_before + 3, "it went to one destination only");
    wait_for_matched(&system, &filter, 3).await.map(drop)
}

async fn a_redrive_of_thousands_survives_two_kills_of_the_producer(store: &Store) -> Result<()> {
    const COUNT: u64 = 2_000;
    let mut system = store.builder().start().await?;
    let order_ids = refused(&system, COUNT as usize, "SKU-1", 422).await?;
    wait_for_matched(&system, &json!({}), COUNT).await?;
    accept(&system, "SKU-1");
    let path = start(&system, &json!({"filter": {}, "rate": 300, "concurrency": 200})).await?;
    for sent in [300, 900] {
        let redrive = wait_for(&system, &path, "under way", |redrive| redrive.sent >= sent).await?;
        ensure!(redrive.status == Running, "it ended before it could be killed: {redrive:?}");
        system.replace(Role::Producer).await?;
    }
    let done = wait_for(&system, &path, "completed", completed).await?;
    assert_eq!((done.delivered, done.remaining), (COUNT, 0));
    orders::delivered_once(&system, &order_ids).await?;
    wait_for_matched(&system, &json!({}), 0).await.map(drop)
}

async fn a_redrive_whose_dead_letters_fail_again_stops_by_itself(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let order_ids = refused(&system, 60, "SKU-1", 422).await?;
    wait_for_matched(&system, &json!({}), 60).await?;
    let path = start(&system, &json!({"filter": {}, "rate": 100, "concurrency": 5})).await?;
    let stopped = wait_for(&system, &path, "stopped", |redrive| redrive.status == Stopped).await?;
    assert!(stopped.detail.as_ref().is_some_and(|detail| detail.contains("of the last 20")), "{stopped:?}");
    let quiet = |redrive: &Redrive| redrive.dead_lettered == redrive.sent;
    let failed = wait_for(&system, &path, "quiet", quiet).await?.dead_lettered;
    assert!((11..40).contains(&failed), "{failed}");
    // Each that failed again is a new dead letter that counts its redrives.
    let all = wait_for_matched(&system, &json!({}), failed).await?;
    assert!(all.sample.iter().all(|item| item.redrives == 1), "{all:?}");
    assert_eq!(all.refused, [Refused { reason: Refusal::InAnotherRedrive.into(), count: 60 - failed }]);

    accept(&system, "SKU-1");
    assert_eq!(control(&system, &path, "resume").await?.expect::<Redrive>(200)?.status, Running);
    assert_eq!(wait_for(&system, &path, "completed", completed).await?.delivered, 60 - failed);
    let again = start(&system, &json!({"filter": {}})).await?;
    assert_eq!(wait_for(&system, &again, "completed", completed).await?.delivered, failed);
    orders::delivered_once(&system, &order_ids).await
}

async fn a_redrive_can_be_paused_resumed_and_cancelled(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let order_ids = refused(&system, 30, "SKU-1", 422).await?;
    wait_for_matched(&system, &json!({}), 30).await?;
    accept(&system, "SKU-1");
    let path = start(&system, &json!({"filter": {}, "rate": 2})).await?;
    wait_for(&system, &path, "under way", |redrive| redrive.delivered >= 1).await?;
    assert_eq!(control(&system, &path, "pause").await?.expect::<Redrive>(200)?.status, Paused);
    let paused = wait_for(&system, &path, "quiet", |redrive| redrive.delivered == redrive.sent).await?;
    assert_eq!(control(&system, &path, "pause").await?.status, 409);
    assert_eq!(control(&system, &path, "resume").await?.status, 200);
    wait_for(&system, &path, "further", |redrive| redrive.delivered > paused.delivered).await?;
    assert_eq!(control(&system, &path, "cancel").await?.expect::<Redrive>(200)?.status, Cancelled);
    let ended = wait_for(&system, &path, "at its end", |redrive| redrive.remaining == 0).await?;
    assert_eq!(ended.delivered + ended.cancelled, 30, "{ended:?}");
    for command in ["pause", "resume", "cancel"] {
        let problem: Problem = control(&system, &path, command).await?.expect(409)?;
        assert_eq!(problem.uri, "/problems/redrive-not-possible");
    }
    // The rest are dead letters as before.
    wait_for_matched(&system, &json!({}), ended.cancelled).await?;
    let again = start(&system, &json!({"filter": {}, "rate": 1000})).await?;
    wait_for(&system, &again, "completed", completed).await?;
    orders::delivered_once(&system, &order_ids).await
}

async fn an_edited_dead_letter_keeps_its_key_unless_a_new_one_is_requested(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let order_id = refused(&system, 1, "SKU-bad", 422).await?.remove(0);
    let of_order = json!({"order_id": order_id});
    let order = system.order(&order_id).await?;
    let mut body = json!({
        "event_type": "OrderCreated", "order_id": order_id, "customer_id": order.customer_id,
        "items": [{"product_id": "SKU-good", "qty": 1}], "correlation_id": order.correlation_id,
        "occurred_at": order.created_at,
    });
    let id = &wait_for_matched(&system, &of_order, 1).await?.sample[0].id;
    let pointer = async |redrive| {
        let problem: Problem = system.post_at("/v1/redrives", &redrive, &[]).await?.expect(422)?;
        anyhow::Ok(problem.errors[0].pointer.clone())
    };
    assert_eq!(pointer(json!({"ids": [id], "body": {"items": 7}})).await?.as_deref(), Some("#/body"));
    body["order_id"] = json!("019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40");
    assert_eq!(pointer(json!({"ids": [id], "body": body})).await?.as_deref(), Some("#/body/order_id"));
    body["order_id"] = json!(order_id);

    let keys = || {
        let calls = system.inventory_api.calls_about(&order_id);
        calls.iter().map(|call| (call.idempotency_key.clone(), call.body_sha256.clone())).collect::<Vec<_>>()
    };
    // This API binds a key to the first body, as many do.
    let path = start(&system, &json!({"ids": [id], "body": body})).await?;
    let redrive = wait_for(&system, &path, "completed", completed).await?;
    assert_eq!((redrive.edited, redrive.new_key, redrive.dead_lettered), (true, false, 1));
    let made = keys();
    assert_eq!((made.len(), &made[0].0), (2, &made[1].0), "the same key");
    assert_ne!(made[0].1, made[1].1, "another body");

    let id = &wait_for_matched(&system, &of_order, 1).await?.sample[0].id;
    let path = start(&system, &json!({"ids": [id], "body": body, "new_key": true})).await?;
    let redrive = wait_for(&system, &path, "completed", completed).await?;
    assert_eq!((redrive.new_key, redrive.delivered), (true, 1));
    let made = keys();
    assert_eq!(made.len(), 3);
    assert_ne!(made[0].0, made[2].0, "another key");
    assert_eq!(system.wait_settled(&order_id).await?.status, OrderStatus::Delivered);
    Ok(())
}

async fn a_dead_letter_with_an_expired_key_is_refused_unless_forced(store: &Store) -> Result<()> {
    let system = store.builder().env(Role::Producer, "INVENTORY_KEY_TTL", "1ms").start().await?;
    let order_ids = refused(&system, 3, "SKU-1", 422).await?;
    accept(&system, "SKU-1");
    let expired = [Refused { reason: Refusal::KeyExpired.into(), count: 3 }];
    // Until the collector has all of them.
    let refused = async || match plan(&system, json!({"filter": {}})).await {
        Ok(plan) if plan.refused == expired => ControlFlow::Break(plan),
        Ok(plan) => ControlFlow::Continue(format!("{plan:?}")),
        Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
    };
    assert_eq!(until("a plan that refuses all", PATIENCE, refused).await?.matched, 0);
    let problem: Problem = system.post_at("/v1/redrives", &json!({"filter": {}}), &[]).await?.expect(409)?;
    assert_eq!(problem.uri, "/problems/nothing-to-redrive");
    assert!(problem.detail.contains("key_expired"), "{problem:?}");
    assert_eq!(system.inventory_api.summary().repeats, 0);
    let path = start(&system, &json!({"filter": {}, "force": true})).await?;
    wait_for(&system, &path, "completed", |redrive| redrive.delivered == 3).await?;
    orders::delivered_once(&system, &order_ids).await
}

async fn a_delivery_being_redriven_is_pending_with_its_earlier_attempts(store: &Store) -> Result<()> {
    let mut system = store.builder().start().await?;
    let order_id = refused(&system, 1, "SKU-1", 422).await?.remove(0);
    wait_for_matched(&system, &json!({}), 1).await?;
    system.inventory_api.set_rule("SKU-1", Behaviour::Fail(1));
    let worker = system.take(Role::Inventory)?;
    worker.stop()?;
    let path = start(&system, &json!({"filter": {}})).await?;
    let order = system.wait_for_order(&order_id, "pending", |order| order.status == OrderStatus::Pending).await?;
    assert_eq!(order.deliveries["inventory"].status, api::DeliveryStatus::Pending);
    assert_eq!(order.deliveries["inventory"].attempts.len(), 1, "{order:?}");
    let listed = async |query: &str| {
        let list: List<api::Order> = system.get(&format!("/v1/orders?status=pending{query}")).await?;
        anyhow::Ok(list.items.into_iter().map(|order| order.order_id).collect::<Vec<_>>())
    };
    for query in ["", "&destination=inventory"] {
        assert_eq!(listed(query).await?, [order_id.as_str()], "{query}");
    }
    assert!(listed("&destination=fulfillment").await?.is_empty(), "only one delivery is pending");
    assert_eq!(system.get::<List<Redrive>>("/v1/redrives").await?.items.len(), 1);
    worker.cont()?;
    wait_for(&system, &path, "completed", completed).await?;
    assert_eq!(system.wait_settled(&order_id).await?.status, OrderStatus::Delivered);
    Ok(())
}

#[tokio::test]
async fn a_redrive_whose_producer_is_killed_is_finished_by_another() -> Result<()> {
    const COUNT: u64 = 300;
    let database = fresh_database().await?;
    let mut system = System::builder().postgres(&database).producers(TWO).start().await?;
    let order_ids = refused(&system, COUNT as usize, "SKU-1", 422).await?;
    wait_for_matched(&system, &json!({}), COUNT).await?;
    accept(&system, "SKU-1");
    let path = start(&system, &json!({"filter": {}, "rate": 30})).await?;
    let redrive = wait_for(&system, &path, "under way", |redrive| redrive.sent >= 60).await?;
    ensure!(redrive.status == Running, "it ended before its producer could be killed: {redrive:?}");
    // Either of them may run it.
    let mut runner = system.take(Role::Producer)?;
    if runner.metrics().await?.sum("tandem_redrive_sent_total", &[]) == 0.0 {
        let other = system.take(Role::Producer)?;
        system.put(Role::Producer, std::mem::replace(&mut runner, other));
    }
    runner.kill9().await?;
    let done = wait_for(&system, &path, "completed", completed).await?;
    assert_eq!((done.delivered, done.remaining), (COUNT, 0));
    let sent_by_other = system.producer()?.metrics().await?.sum("tandem_redrive_sent_total", &[]);
    assert!(sent_by_other > 0.0, "the rest was sent by the other");
    orders::delivered_once(&system, &order_ids).await
}
