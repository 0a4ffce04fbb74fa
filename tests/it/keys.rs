//! The clients' keys: how long they live, and what goes when orders are old.

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tests::{
    order::Order,
    system::{Answer, Role, System},
};

use crate::{
    crowd,
    ending::Ending,
    scrape,
    stores::{Store, over_both_stores},
};

async fn place(system: &System, key: &str, order: &Order) -> Result<Answer> {
    system.post(&serde_json::to_vec(order)?, &[("idempotency-key", key)]).await
}

fn order_id(answer: &Answer) -> Result<String> {
    Ok(answer.body["order_id"].as_str().with_context(|| answer.body.to_string())?.to_owned())
}

over_both_stores!(
    a_hundred_concurrent_repeats_of_a_key_are_one_order,
    an_expired_key_is_swept_and_can_be_used_again,
    retention_removes_delivered_orders_only,
);

async fn a_hundred_concurrent_repeats_of_a_key_are_one_order(store: &Store) -> Result<()> {
    let mut system = store.builder().start().await?;
    let twins = async |system: &System| {
        let twins = stream::iter(0..100).map(async |_| place(system, "twin", &Order::healthy()).await);
        let answers: Vec<_> = twins.buffer_unordered(100).try_collect().await?;
        let first = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
        let ids: Vec<_> = answers.iter().map(order_id).collect::<Result<_>>()?;
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        anyhow::Ok((ids[0].clone(), first))
    };
    let (placed, first) = twins(&system).await?;
    assert_eq!(first, 1);
    system.replace(Role::Producer).await?;
    assert_eq!(twins(&system).await?, (placed.clone(), 0));
    crowd::delivered_once(&system, &[placed]).await
}

async fn an_expired_key_is_swept_and_can_be_used_again(store: &Store) -> Result<()> {
    let system = store.builder().env(Role::Producer, "IDEMPOTENCY_KEY_TTL", "2s").start().await?;
    let first = order_id(&place(&system, "k", &Order::healthy()).await?)?;
    place(&system, "other", &Order::healthy()).await?;
    scrape::wait_for(system.producer()?, "tandem_swept_keys_total", &[], |swept| swept >= 2.0).await?;
    // Another order under it is no mistake any more.
    let second = place(&system, "k", &Order::of("SKU-2")).await?;
    assert_eq!((second.status, second.header("idempotency-replayed")), (202, None));
    let second = order_id(&second)?;
    assert_ne!(first, second);
    crowd::delivered_once(&system, &[first, second]).await
}

#[tokio::test]
async fn if_keys_are_required_an_order_without_one_is_refused() -> Result<()> {
    let system =
        System::builder().without_workers().env(Role::Producer, "IDEMPOTENCY_KEY_REQUIRED", "true").start().await?;
    let refused = system.post(&serde_json::to_vec(&Order::healthy())?, &[]).await?;
    assert_eq!((refused.status, &refused.body["type"]), (400, &json!("/problems/idempotency-key-required")));
    assert_eq!(place(&system, "k", &Order::healthy()).await?.status, 202);
    Ok(())
}

async fn retention_removes_delivered_orders_only(store: &Store) -> Result<()> {
    let system = store
        .builder()
        .with_quick_retries()
        .env(Role::Producer, "IDEMPOTENCY_KEY_TTL", "1s")
        .env(Role::Producer, "RETENTION", "2s")
        .start()
        .await?;
    system.inventory_api.set_rule("waits", "hang".parse()?);
    let pending = system.place(&Order::of("waits")).await?.order_id;
    let partly = crowd::place(&system, 2, &Order::of("fulfillment-status-422")).await?;
    crowd::place(&system, 20, &Order::healthy()).await?;
    scrape::wait_for(system.producer()?, "tandem_swept_orders_total", &[], |swept| swept == 20.0).await?;
    let response = system.producer()?.get("/v1/orders").await?;
    let left: serde_json::Value = serde_json::from_slice(&response.bytes().await?)?;
    let left: Vec<_> =
        left["items"].as_array().into_iter().flatten().filter_map(|it| it["order_id"].as_str()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(partly.iter().chain([&pending]).all(|kept| left.contains(&kept.as_str())), "{left:?}");
    Ok(())
}

#[tokio::test]
async fn a_retention_shorter_than_the_key_ttl_is_refused() -> Result<()> {
    let mut system = System::builder().without(Role::Producer).without_workers().start().await?;
    let settings = [("RETENTION", "1h"), ("IDEMPOTENCY_KEY_TTL", "2h"), ("WAIT_MAX", "never"), ("WAITERS", "-1")];
    let ending = Ending::of(system.start_process(Role::Producer, &settings)?).await?;
    assert_eq!(ending.code, Some(78));
    for name in ["RETENTION: must not be shorter than IDEMPOTENCY_KEY_TTL", "WAIT_MAX: ", "WAITERS: "] {
        assert!(ending.text().contains(name), "{}", ending.text());
    }
    Ok(())
}
