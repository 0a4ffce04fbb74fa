//! Dead letters that are sent again.

use std::{num::NonZeroUsize, ops::ControlFlow};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    fake_api::Behaviour,
    postgres::fresh_database,
    system::{Role, System},
    waiting::{PATIENCE, until},
};

use crate::{
    crowd,
    operator::{begin, get, mend, plan, post, refused, wait_for, wait_for_matched},
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

async fn a_redrive_sends_exactly_what_its_dry_run_counted(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let meant = refused(&system, 20, "SKU-meant", 422).await?;
    let others = refused(&system, 5, "SKU-other", 410).await?;
    let filter = json!({"destination": "inventory", "status_code": 422});
    let plan = wait_for_matched(&system, &filter, 20).await?;
    assert_eq!(plan["sample"].as_array().map(Vec::len), Some(10), "{plan}");
    let told_before = system.fulfillment_api.summary().calls;
    wait_for_matched(&system, &json!({}), 25).await?;

    // Slow, so that more dies before it ends: that is not swept in.
    mend(&system, "SKU-meant");
    let path = begin(&system, &json!({"filter": filter, "rate": 10})).await?;
    let late = refused(&system, 3, "SKU-late", 422).await?;
    let done = wait_for(&system, &path, "completed", |job| job["status"] == "completed").await?;
    for (field, wanted) in
        [("matched", 20), ("sent", 20), ("delivered", 20), ("dead_lettered", 0), ("remaining", 0), ("cancelled", 0)]
    {
        assert_eq!(done[field], wanted, "{field} of {done}");
    }
    for order in crowd::settled(&system, &meant).await? {
        assert_eq!(order["status"], "delivered", "{order}");
        let attempts = order["deliveries"]["inventory"]["attempts"].as_array().map(Vec::len);
        assert_eq!(attempts, Some(2), "{order}");
    }
    crowd::told_once(&system.inventory_api, &meant)?;
    for order_id in others.iter().chain(&late) {
        assert_eq!(system.inventory_api.calls_about(order_id).len(), 1, "{order_id} was swept in");
        assert_eq!(system.order(order_id).await?["status"], "partially_delivered");
    }
    assert_eq!(system.fulfillment_api.summary().calls, told_before + 3, "it went to one destination only");
    wait_for_matched(&system, &filter, 3).await.map(drop)
}

async fn a_redrive_of_thousands_survives_two_kills_of_the_producer(store: &Store) -> Result<()> {
    const COUNT: usize = 2_000;
    let mut system = store.builder().start().await?;
    let order_ids = refused(&system, COUNT, "SKU-1", 422).await?;
    wait_for_matched(&system, &json!({}), COUNT as u64).await?;
    mend(&system, "SKU-1");
    let path = begin(&system, &json!({"filter": {}, "rate": 300, "concurrency": 200})).await?;
    for sent in [300, 900] {
        let so_far = |job: &Value| job["sent"].as_u64() >= Some(sent);
        let job = wait_for(&system, &path, "under way", so_far).await?;
        ensure!(job["status"] == "running", "it ended before it could be killed: {job}");
        system.replace(Role::Producer).await?;
    }
    let done = wait_for(&system, &path, "completed", |job| job["status"] == "completed").await?;
    assert_eq!((&done["delivered"], &done["remaining"]), (&json!(COUNT), &json!(0)), "{done}");
    crowd::delivered_once(&system, &order_ids).await?;
    wait_for_matched(&system, &json!({}), 0).await.map(drop)
}

async fn a_redrive_whose_dead_letters_fail_again_stops_by_itself(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let order_ids = refused(&system, 60, "SKU-1", 422).await?;
    wait_for_matched(&system, &json!({}), 60).await?;
    let path = begin(&system, &json!({"filter": {}, "rate": 100, "concurrency": 5})).await?;
    let stopped = wait_for(&system, &path, "stopped", |job| job["status"] == "stopped").await?;
    assert!(stopped["detail"].as_str().is_some_and(|detail| detail.contains("of the last 20")), "{stopped}");
    let ended = |job: &Value| job["dead_lettered"].as_u64() == job["sent"].as_u64();
    let stopped = wait_for(&system, &path, "quiet", ended).await?;
    let failed = stopped["dead_lettered"].as_u64().context("no count")?;
    assert!((11..40).contains(&failed), "{stopped}");
    // Each that failed again is a new dead letter, and knows that it was sent before.
    let all = wait_for_matched(&system, &json!({}), failed).await?;
    assert!(all["sample"].as_array().is_some_and(|sample| sample.iter().all(|item| item["redrives"] == 1)), "{all}");
    assert_eq!(all["refused"], json!([{"reason": "in_another_redrive", "count": 60 - failed}]), "{all}");

    mend(&system, "SKU-1");
    let (status, job) = post(&system, &format!("{path}/resume"), &json!({})).await?;
    assert_eq!((status, &job["status"]), (200, &json!("running")), "{job}");
    let done = wait_for(&system, &path, "completed", |job| job["status"] == "completed").await?;
    assert_eq!(done["delivered"], 60 - failed, "{done}");
    let again = begin(&system, &json!({"filter": {}})).await?;
    let done = wait_for(&system, &again, "completed", |job| job["status"] == "completed").await?;
    assert_eq!(done["delivered"], failed, "{done}");
    crowd::delivered_once(&system, &order_ids).await
}

async fn a_redrive_can_be_paused_resumed_and_cancelled(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let order_ids = refused(&system, 30, "SKU-1", 422).await?;
    wait_for_matched(&system, &json!({}), 30).await?;
    mend(&system, "SKU-1");
    let path = begin(&system, &json!({"filter": {}, "rate": 2})).await?;
    wait_for(&system, &path, "under way", |job| job["delivered"].as_u64() >= Some(1)).await?;
    let (status, job) = post(&system, &format!("{path}/pause"), &json!({})).await?;
    assert_eq!((status, &job["status"]), (200, &json!("paused")), "{job}");
    let quiet = |job: &Value| job["delivered"] == job["sent"];
    let paused = wait_for(&system, &path, "quiet", quiet).await?;
    let (status, _) = post(&system, &format!("{path}/pause"), &json!({})).await?;
    assert_eq!(status, 409);
    let (status, _) = post(&system, &format!("{path}/resume"), &json!({})).await?;
    assert_eq!(status, 200);
    let further = |job: &Value| job["delivered"].as_u64() > paused["delivered"].as_u64();
    wait_for(&system, &path, "further", further).await?;
    let (status, job) = post(&system, &format!("{path}/cancel"), &json!({})).await?;
    assert_eq!((status, &job["status"]), (200, &json!("cancelled")), "{job}");
    let ended = wait_for(&system, &path, "at its end", |job| job["remaining"] == 0).await?;
    let (delivered, cancelled) = (ended["delivered"].as_u64(), ended["cancelled"].as_u64());
    assert_eq!(delivered.zip(cancelled).map(|(a, b)| a + b), Some(30), "{ended}");
    for control in ["pause", "resume", "cancel"] {
        let (status, problem) = post(&system, &format!("{path}/{control}"), &json!({})).await?;
        assert_eq!((status, &problem["type"]), (409, &json!("/problems/redrive-not-possible")), "{problem}");
    }
    // The rest waits as before.
    wait_for_matched(&system, &json!({}), cancelled.unwrap_or_default()).await?;
    let again = begin(&system, &json!({"filter": {}, "rate": 1000})).await?;
    wait_for(&system, &again, "completed", |job| job["status"] == "completed").await?;
    crowd::delivered_once(&system, &order_ids).await
}

async fn an_edited_dead_letter_keeps_its_key_unless_a_new_one_is_requested(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let order_id = refused(&system, 1, "SKU-bad", 422).await?.remove(0);
    let of_order = json!({"order_id": order_id});
    let order = system.order(&order_id).await?;
    let mut body = json!({
        "event_type": "OrderCreated", "order_id": order_id, "customer_id": order["customer_id"],
        "items": [{"product_id": "SKU-good", "qty": 1}], "correlation_id": order["correlation_id"],
        "occurred_at": order["created_at"],
    });
    let plan = wait_for_matched(&system, &of_order, 1).await?;
    let id = &plan["sample"][0]["id"];
    let (status, problem) = post(&system, "/v1/redrives", &json!({"ids": [id], "body": {"items": 7}})).await?;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("#/body")), "{problem}");
    body["order_id"] = json!("019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40");
    let (status, problem) = post(&system, "/v1/redrives", &json!({"ids": [id], "body": body})).await?;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("#/body/order_id")), "{problem}");
    body["order_id"] = json!(order_id);

    let completed = |job: &Value| job["status"] == "completed";
    let keys = || {
        let calls = system.inventory_api.calls_about(&order_id);
        calls.iter().map(|call| (call.idempotency_key.clone(), call.body_sha256.clone())).collect::<Vec<_>>()
    };
    // This API holds a key to the body that it saw first, as many do.
    let path = begin(&system, &json!({"ids": [id], "body": body})).await?;
    let job = wait_for(&system, &path, "completed", completed).await?;
    assert_eq!((&job["edited"], &job["new_key"], &job["dead_lettered"]), (&json!(true), &json!(false), &json!(1)));
    let made = keys();
    assert_eq!((made.len(), &made[0].0), (2, &made[1].0), "the same key");
    assert_ne!(made[0].1, made[1].1, "another body");

    let plan = wait_for_matched(&system, &of_order, 1).await?;
    let id = &plan["sample"][0]["id"];
    let path = begin(&system, &json!({"ids": [id], "body": body, "new_key": true})).await?;
    let job = wait_for(&system, &path, "completed", completed).await?;
    assert_eq!((&job["new_key"], &job["delivered"]), (&json!(true), &json!(1)), "{job}");
    let made = keys();
    assert_eq!(made.len(), 3);
    assert_ne!(made[0].0, made[2].0, "another key");
    assert_eq!(system.wait_settled(&order_id).await?["status"], "delivered");
    Ok(())
}

async fn a_dead_letter_with_an_expired_key_is_refused_unless_forced(store: &Store) -> Result<()> {
    let system = store.builder().env(Role::Producer, "INVENTORY_KEY_TTL", "1ms").start().await?;
    let order_ids = refused(&system, 3, "SKU-1", 422).await?;
    mend(&system, "SKU-1");
    let expired = json!([{"reason": "key_expired", "count": 3}]);
    // Until the collector has them all.
    let all = async || match plan(&system, json!({"filter": {}})).await {
        Ok(plan) if plan["refused"] == expired => ControlFlow::Break(plan),
        Ok(plan) => ControlFlow::Continue(plan.to_string()),
        Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
    };
    let plan = until("a plan that refuses all", PATIENCE, all).await?;
    assert_eq!(plan["matched"], 0, "{plan}");
    let (status, problem) = post(&system, "/v1/redrives", &json!({"filter": {}})).await?;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/nothing-to-redrive")), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("key_expired")), "{problem}");
    assert_eq!(system.inventory_api.summary().repeats, 0);
    let path = begin(&system, &json!({"filter": {}, "force": true})).await?;
    wait_for(&system, &path, "completed", |job| job["delivered"] == 3).await?;
    crowd::delivered_once(&system, &order_ids).await
}

async fn a_delivery_being_redriven_is_pending_with_its_earlier_attempts(store: &Store) -> Result<()> {
    let mut system = store.builder().start().await?;
    let order_id = refused(&system, 1, "SKU-1", 422).await?.remove(0);
    wait_for_matched(&system, &json!({}), 1).await?;
    system.inventory_api.set_rule("SKU-1", Behaviour::Fail(1));
    let worker = system.take(Role::Inventory)?;
    worker.stop()?;
    let path = begin(&system, &json!({"filter": {}})).await?;
    let pending = |order: &Value| order["status"] == "pending";
    let order = system.wait_for_order(&order_id, "pending", pending).await?;
    let delivery = &order["deliveries"]["inventory"];
    assert_eq!(delivery["status"], "pending", "{order}");
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1), "{order}");
    for query in ["status=pending", "status=pending&destination=inventory"] {
        let (status, pending) = get(&system, &format!("/v1/orders?{query}")).await?;
        assert_eq!((status, &pending["items"][0]["order_id"]), (200, &json!(order_id)), "{query}: {pending}");
    }
    let (_, delivered) = get(&system, "/v1/orders?status=pending&destination=fulfillment").await?;
    assert_eq!(delivered["items"], json!([]), "only the one delivery is pending");
    let (status, redrives) = get(&system, "/v1/redrives").await?;
    assert_eq!((status, redrives["items"].as_array().map(Vec::len)), (200, Some(1)), "{redrives}");
    worker.cont()?;
    wait_for(&system, &path, "completed", |job| job["status"] == "completed").await?;
    let order = system.wait_settled(&order_id).await?;
    assert_eq!(order["status"], "delivered", "{order}");
    Ok(())
}

#[tokio::test]
async fn a_redrive_whose_producer_is_killed_is_finished_by_another() -> Result<()> {
    const COUNT: usize = 300;
    let database = fresh_database().await?;
    let mut system = System::builder().postgres(&database).producers(TWO).start().await?;
    let order_ids = refused(&system, COUNT, "SKU-1", 422).await?;
    wait_for_matched(&system, &json!({}), COUNT as u64).await?;
    mend(&system, "SKU-1");
    let path = begin(&system, &json!({"filter": {}, "rate": 30})).await?;
    let job = wait_for(&system, &path, "under way", |job| job["sent"].as_u64() >= Some(60)).await?;
    ensure!(job["status"] == "running", "it ended before its producer could be killed: {job}");
    // Whichever of them runs it.
    let mut runner = system.take(Role::Producer)?;
    if runner.metrics().await?.sum("tandem_redrive_sent_total", &[]) == 0.0 {
        let other = system.take(Role::Producer)?;
        system.put(Role::Producer, std::mem::replace(&mut runner, other));
    }
    runner.kill9().await?;
    let done = wait_for(&system, &path, "completed", |job| job["status"] == "completed").await?;
    assert_eq!((&done["delivered"], &done["remaining"]), (&json!(COUNT), &json!(0)), "{done}");
    let of_other = system.producer()?.metrics().await?.sum("tandem_redrive_sent_total", &[]);
    assert!(of_other > 0.0, "the rest was sent by the other");
    crowd::delivered_once(&system, &order_ids).await
}
