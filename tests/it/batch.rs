//! Many orders in one request.

use anyhow::{Result, ensure};
use api::{BatchResult, ItemResult, Problem};
use serde_json::{Value, json};
use tests::{
    metrics::Metrics,
    order::Order,
    system::{Role, System},
};

use crate::{
    orders,
    stores::{Store, over_both_stores},
};

async fn place_batch(system: &System, body: &Value) -> Result<Vec<ItemResult>> {
    let response = system.post_at("/v1/orders:batch", body, &[]).await?;
    Ok(response.expect::<BatchResult>(207)?.items)
}

fn keyed(key: &str, order: &Order) -> Value {
    json!({"idempotency_key": key, "customer_id": order.customer_id, "items": order.items})
}

fn statuses(items: &[ItemResult]) -> Vec<u16> {
    items.iter().map(|item| item.status).collect()
}

/// The ids of the accepted orders.
fn order_ids(items: &[ItemResult]) -> Vec<String> {
    items.iter().filter_map(|item| Some(item.order.as_ref()?.order_id.clone())).collect()
}

over_both_stores!(
    a_repeated_batch_of_500_orders_delivers_each_once,
    an_invalid_order_of_a_batch_does_not_affect_the_others,
);

async fn a_repeated_batch_of_500_orders_delivers_each_once(store: &Store) -> Result<()> {
    store
        .builder()
        .run(async |system| {
            let orders: Vec<_> = (0..500).map(|number| keyed(&format!("k-{number}"), &Order::healthy())).collect();
            let body = json!({ "orders": orders });
            let before = system.metrics(Role::Producer).await?;
            let items = place_batch(system, &body).await?;
            let after = system.metrics(Role::Producer).await?;
            assert_eq!(statuses(&items), vec![202; 500]);
            // The largest group is the batch, which was not split.
            let groups = |bound| {
                let count = |metrics: &Metrics| metrics.sum("tandem_store_group_orders_bucket", &[("le", bound)]);
                count(&after) - count(&before)
            };
            ensure!(groups("+Inf") - groups("256.0") >= 1.0, "no group has more than 256 orders");
            let placed = order_ids(&items);
            system.replace(Role::Producer).await?;
            let again = place_batch(system, &body).await?;
            assert_eq!(order_ids(&again), placed);
            ensure!(again.iter().all(|item| item.replayed), "{again:?}");
            orders::delivered_once(system, &placed).await
        })
        .await
}

async fn an_invalid_order_of_a_batch_does_not_affect_the_others(store: &Store) -> Result<()> {
    let system = store.builder().start().await?;
    let good = Order::healthy();
    let body = json!({"orders": [
        good,
        {"customer_id": "c", "items": [{"product_id": "p", "qty": 0}]},
        keyed("k", &good),
        keyed("k", &good),
        keyed("k", &Order::of("SKU-2")),
        keyed("not visible", &good),
    ]});
    let items = place_batch(&system, &body).await?;
    assert_eq!(statuses(&items), [202, 422, 202, 202, 422, 422], "{items:?}");
    let problem = |index: usize| items[index].problem.clone().unwrap_or_default();
    assert_eq!(problem(1).errors[0].pointer.as_deref(), Some("#/orders/1/items/0/qty"));
    assert_eq!(problem(4).uri, "/problems/idempotency-key-reused");
    assert_eq!(problem(5).errors[0].pointer.as_deref(), Some("#/orders/5/idempotency_key"));
    let placed = order_ids(&items);
    assert_eq!(placed[1], placed[2], "one key is one order");
    orders::delivered_once(&system, &placed[..2]).await
}

#[tokio::test]
async fn an_invalid_batch_is_refused_as_a_whole() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    for (body, problem) in [
        (json!({"orders": vec![Order::healthy(); 501]}), "/problems/invalid-batch"),
        (json!({"orders": []}), "/problems/invalid-batch"),
        (json!([Order::healthy()]), "/problems/invalid-batch"),
    ] {
        let refused: Problem = system.post_at("/v1/orders:batch", &body, &[]).await?.expect(422)?;
        assert_eq!(refused.uri, problem);
    }
    let accepted = system.metrics(Role::Producer).await?.sum("tandem_orders_total", &[("result", "accepted")]);
    assert_eq!(accepted, 0.0, "nothing was stored");
    Ok(())
}
