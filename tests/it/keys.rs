//! Idempotency keys and orders: how long they are kept.

use anyhow::Result;
use api::{List, Problem};
use futures_util::{StreamExt, TryStreamExt, stream};
use tests::{
    order::Order,
    system::{Placed, Response, Role, System},
};

use crate::{
    exit::Exit,
    orders,
    stores::{Store, over_both_stores},
};

async fn place(system: &System, key: &str, order: &Order) -> Result<Response> {
    system.post(&serde_json::to_vec(order)?, &[("idempotency-key", key)]).await
}

fn order_id(response: &Response) -> Result<String> {
    Ok(Placed::from_response(response)?.order_id)
}

over_both_stores!(
    a_hundred_concurrent_repeats_of_a_key_are_one_order,
    an_expired_key_is_swept_and_can_be_used_again,
    retention_removes_delivered_orders_only,
);

async fn a_hundred_concurrent_repeats_of_a_key_are_one_order(store: &Store) -> Result<()> {
    let mut system = store.builder().start().await?;
    let repeat = async |system: &System| {
        let repeats = stream::iter(0..100).map(async |_| place(system, "key", &Order::healthy()).await);
        let responses: Vec<_> = repeats.buffer_unordered(100).try_collect().await?;
        let first = responses.iter().filter(|response| response.header("idempotency-replayed").is_none()).count();
        let ids: Vec<_> = responses.iter().map(order_id).collect::<Result<_>>()?;
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        anyhow::Ok((ids[0].clone(), first))
    };
    let (placed, first) = repeat(&system).await?;
    assert_eq!(first, 1);
    system.replace(Role::Producer).await?;
    assert_eq!(repeat(&system).await?, (placed.clone(), 0));
    orders::delivered_once(&system, &[placed]).await
}

async fn an_expired_key_is_swept_and_can_be_used_again(store: &Store) -> Result<()> {
    let system = store.builder().env(Role::Producer, "IDEMPOTENCY_KEY_TTL", "2s").start().await?;
    let first = order_id(&place(&system, "k", &Order::healthy()).await?)?;
    place(&system, "other", &Order::healthy()).await?;
    system.producer()?.wait_for_metric("tandem_swept_keys_total", &[], |swept| swept >= 2.0).await?;
    // Another order under this key is valid now.
    let second = place(&system, "k", &Order::of("SKU-2")).await?;
    assert_eq!((second.status, second.header("idempotency-replayed")), (202, None));
    let second = order_id(&second)?;
    assert_ne!(first, second);
    orders::delivered_once(&system, &[first, second]).await
}

#[tokio::test]
async fn if_keys_are_required_an_order_without_one_is_refused() -> Result<()> {
    let system =
        System::builder().without_workers().env(Role::Producer, "IDEMPOTENCY_KEY_REQUIRED", "true").start().await?;
    let refused = system.post(&serde_json::to_vec(&Order::healthy())?, &[]).await?;
    assert_eq!(refused.expect::<Problem>(400)?.uri, "/problems/idempotency-key-required");
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
    let partly = orders::place(&system, 2, &Order::of("fulfillment-status-422")).await?;
    orders::place(&system, 20, &Order::healthy()).await?;
    system.producer()?.wait_for_metric("tandem_swept_orders_total", &[], |swept| swept == 20.0).await?;
    let left: List<api::Order> = system.get("/v1/orders").await?;
    let mut left: Vec<_> = left.items.into_iter().map(|order| order.order_id).collect();
    let mut kept = [partly, vec![pending]].concat();
    left.sort_unstable();
    kept.sort_unstable();
    assert_eq!(left, kept);
    Ok(())
}

#[tokio::test]
async fn a_retention_shorter_than_the_key_ttl_is_refused() -> Result<()> {
    let mut system = System::builder().without(Role::Producer).without_workers().start().await?;
    let settings = [("RETENTION", "1h"), ("IDEMPOTENCY_KEY_TTL", "2h"), ("WAIT_MAX", "never"), ("WAITERS", "-1")];
    let exit = Exit::of(system.start_process(Role::Producer, &settings)?).await?;
    assert_eq!(exit.code, Some(78));
    for name in ["RETENTION: must not be shorter than IDEMPOTENCY_KEY_TTL", "WAIT_MAX: ", "WAITERS: "] {
        assert!(exit.text().contains(name), "{}", exit.text());
    }
    Ok(())
}
