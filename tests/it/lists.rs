//! Lists of orders, page by page.

use std::collections::HashSet;

use anyhow::Result;
use api::{DeliveryStatus, List};
use tests::{
    order::Order,
    system::{Role, System},
};

use crate::{
    orders,
    stores::{Store, over_both_stores},
};

/// Every page of a list.
async fn list(system: &System, query: &str) -> Result<Vec<api::Order>> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: List<api::Order> = system.get(&format!("/v1/orders?{query}{cursor}")).await?;
        all.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
}

fn ids(orders: &[api::Order]) -> Vec<String> {
    orders.iter().map(|order| order.order_id.clone()).collect()
}

over_both_stores!(
    orders_are_found_by_status_destination_customer_and_time,
    pages_neither_repeat_nor_skip_orders_while_others_are_placed,
);

async fn orders_are_found_by_status_destination_customer_and_time(store: &Store) -> Result<()> {
    let system = store.builder().with_quick_retries().with_patient_worker(Role::Inventory).start().await?;
    let good = orders::place(&system, 6, &Order::healthy()).await?;
    let partly = orders::place(&system, 3, &Order::of("fulfillment-status-422")).await?;
    let mut order = Order::of("status-422");
    order.customer_id = "another & one".to_owned();
    let dead = orders::place(&system, 2, &order).await?;
    orders::settled(&system, &[good.clone(), partly.clone(), dead.clone()].concat()).await?;
    system.inventory_api.set_rule("waits", "hang".parse()?);
    let pending = system.place(&Order::of("waits")).await?.order_id;
    let shown = system.wait_for_delivery(&pending, "fulfillment", DeliveryStatus::Delivered).await?;

    let set = |lists: &[&[String]]| lists.concat().into_iter().collect::<HashSet<_>>();
    let pending = [pending];
    for (query, wanted) in [
        ("", set(&[&good, &partly, &dead, &pending])),
        ("status=pending", set(&[&pending])),
        ("status=delivered", set(&[&good])),
        ("status=partially_delivered", set(&[&partly])),
        ("status=dead_lettered", set(&[&dead])),
        ("status=delivered&destination=fulfillment", set(&[&good, &pending])),
        ("status=delivered&destination=inventory", set(&[&good, &partly])),
        ("status=dead_lettered&destination=fulfillment", set(&[&partly, &dead])),
        ("status=partially_delivered&destination=fulfillment", set(&[&partly])),
        ("status=partially_delivered&destination=inventory", set(&[])),
        ("status=pending&destination=fulfillment", set(&[])),
        ("status=pending&destination=inventory", set(&[&pending])),
        ("customer_id=another%20%26%20one", set(&[&dead])),
        ("customer_id=customer-1&status=dead_lettered", set(&[])),
        ("destination=nowhere", set(&[])),
        ("to=2020-01-01T00:00:00Z", set(&[])),
        ("from=2020-01-01T00:00:00Z&to=2120-01-01T00:00:00Z", set(&[&good, &partly, &dead, &pending])),
    ] {
        for limit in [2, 500] {
            let found = list(&system, &format!("{query}&limit={limit}")).await?;
            let found_ids = ids(&found);
            assert!(found_ids.is_sorted_by(|a, b| a > b), "{query}: newest first, without repetition");
            assert_eq!(found_ids.into_iter().collect::<HashSet<_>>(), wanted, "{query}");
        }
    }
    let found = list(&system, &format!("from={}", shown.created_at)).await?;
    assert_eq!(found, [shown], "an order is listed as it is shown");
    Ok(())
}

async fn pages_neither_repeat_nor_skip_orders_while_others_are_placed(store: &Store) -> Result<()> {
    let system = store.builder().without(Role::Fulfillment).start().await?;
    let before = orders::place(&system, 30, &Order::healthy()).await?;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: List<api::Order> = system.get(&format!("/v1/orders?limit=4{cursor}")).await?;
        seen.extend(ids(&page.items));
        orders::place(&system, 3, &Order::healthy()).await?;
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let (count, seen): (usize, HashSet<_>) = (seen.len(), seen.into_iter().collect());
    assert_eq!((count, seen), (30, before.into_iter().collect()));
    Ok(())
}
