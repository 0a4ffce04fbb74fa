//! Many orders at once, and what must be true of each of them at the end.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use api::OrderStatus;
use futures_util::{StreamExt, TryStreamExt, stream};
use tests::{fake_api::FakeApi, order::Order, system::System};

/// How many requests run at a time.
const AT_A_TIME: usize = 16;

/// Places this order `count` times, and returns the ids.
pub(crate) async fn place(system: &System, count: usize, order: &Order) -> Result<Vec<String>> {
    stream::iter(0..count)
        .map(async |_| Ok(system.place(order).await?.order_id))
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await
}

/// Waits until every order is settled, and returns the orders.
pub(crate) async fn settled(system: &System, order_ids: &[String]) -> Result<Vec<api::Order>> {
    stream::iter(order_ids)
        .map(|order_id| system.wait_settled(order_id))
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await
        .map_err(|fault| system.with_logs(fault))
}

/// Waits until every order is delivered, and checks that both APIs saw exactly one effect of each.
pub(crate) async fn delivered_once(system: &System, order_ids: &[String]) -> Result<()> {
    for order in settled(system, order_ids).await? {
        ensure!(order.status == OrderStatus::Delivered, "{order:?}");
    }
    called_once(&system.inventory_api, order_ids)?;
    called_once(&system.fulfillment_api, order_ids)
}

/// Checks that the API saw exactly one effect of each of these orders and at most one of any other, and that all calls
/// about an order had the same key and body.
pub(crate) fn called_once(api: &FakeApi, order_ids: &[String]) -> Result<()> {
    let mut effects = HashMap::<String, u32>::new();
    let mut keys = HashMap::<String, (String, String)>::new();
    for call in api.calls() {
        ensure!(call.refusal.is_none(), "a call that breaks the contract: {call:?}");
        let order_id = call.order_id.clone().context("a call without an order")?;
        let key = (call.idempotency_key.clone().context("a call without a key")?, call.body_sha256.clone());
        let first = keys.entry(order_id.clone()).or_insert_with(|| key.clone());
        ensure!(*first == key, "order {order_id} has a second key or body: {first:?}, then {key:?}");
        *effects.entry(order_id).or_default() += u32::from(call.effect);
    }
    let distinct: HashSet<_> = keys.values().map(|(key, _)| key).collect();
    ensure!(distinct.len() == keys.len(), "a key is shared by several orders");
    for order_id in order_ids {
        ensure!(effects.get(order_id) == Some(&1), "order {order_id} had {:?} effects", effects.get(order_id));
    }
    ensure!(effects.values().all(|count| *count <= 1), "an order had several effects: {effects:?}");
    Ok(())
}
