//! Many orders by one request.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    order::Order,
    system::{Role, System},
};

use crate::{
    crowd,
    stores::{Store, over_both_stores},
};

async fn place_batch(system: &System, body: &Value) -> Result<(u16, Value)> {
    let url = format!("{}/v1/orders:batch", system.producer()?.url().await?);
    let response = tests::http::client()?.post(url).json(body).send().await?;
    Ok((response.status().as_u16(), serde_json::from_slice(&response.bytes().await?)?))
}

fn keyed(key: &str, order: &Order) -> Value {
    json!({"idempotency_key": key, "customer_id": order.customer_id, "items": order.items})
}

fn statuses(answer: &Value) -> Vec<u64> {
    answer["items"].as_array().into_iter().flatten().filter_map(|item| item["status"].as_u64()).collect()
}

fn order_ids(answer: &Value) -> Result<Vec<String>> {
    let items = answer["items"].as_array().context("items")?.iter();
    items.map(|item| Ok(item["order"]["order_id"].as_str().context("order_id")?.to_owned())).collect()
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
            let (status, answer) = place_batch(system, &body).await?;
            let after = system.metrics(Role::Producer).await?;
            assert_eq!((status, statuses(&answer)), (207, vec![202; 500]));
            // The greatest group is the one of the batch: it was not taken apart.
            let groups = |bound| {
                let count =
                    |scrape: &tests::metrics::Metrics| scrape.sum("tandem_store_group_orders_bucket", &[("le", bound)]);
                count(&after) - count(&before)
            };
            ensure!(groups("+Inf") - groups("256.0") >= 1.0, "no group has more than 256 orders");
            let placed = order_ids(&answer)?;
            system.replace(Role::Producer).await?;
            let (status, again) = place_batch(system, &body).await?;
            assert_eq!((status, order_ids(&again)?), (207, placed.clone()));
            ensure!(again["items"].as_array().into_iter().flatten().all(|item| item["replayed"] == true), "{again}");
            crowd::delivered_once(system, &placed).await
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
    let (status, answer) = place_batch(&system, &body).await?;
    assert_eq!((status, statuses(&answer)), (207, vec![202, 422, 202, 202, 422, 422]), "{answer}");
    let items = &answer["items"];
    assert_eq!(items[1]["problem"]["errors"][0]["pointer"], "#/orders/1/items/0/qty");
    assert_eq!(items[4]["problem"]["type"], "/problems/idempotency-key-reused");
    assert_eq!(items[5]["problem"]["errors"][0]["pointer"], "#/orders/5/idempotency_key");
    assert_eq!(items[2]["order"]["order_id"], items[3]["order"]["order_id"]);
    let placed: Vec<_> = [0, 2]
        .into_iter()
        .filter_map(|place: usize| items[place]["order"]["order_id"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(placed.len(), 2);
    crowd::delivered_once(&system, &placed).await
}

#[tokio::test]
async fn an_invalid_batch_is_refused_as_a_whole() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    for (body, problem) in [
        (json!({"orders": vec![Order::healthy(); 501]}), "/problems/invalid-batch"),
        (json!({"orders": []}), "/problems/invalid-batch"),
        (json!([Order::healthy()]), "/problems/invalid-batch"),
    ] {
        let (status, answer) = place_batch(&system, &body).await?;
        assert_eq!((status, &answer["type"]), (422, &json!(problem)));
    }
    let accepted = system.metrics(Role::Producer).await?.sum("tandem_orders_total", &[("result", "accepted")]);
    assert_eq!(accepted, 0.0, "nothing was stored");
    Ok(())
}
