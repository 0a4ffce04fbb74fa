//! An outbox or an intake queue that fills up.

use std::{collections::HashSet, ops::ControlFlow};

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::Value;
use tests::{
    order::Order,
    queues::Depth,
    system::{Placed, Role, System},
    waiting::{PATIENCE, until},
};

use crate::{broker_proxy::broker_proxy, orders, probe::Probe};

#[tokio::test]
async fn an_outbox_that_outgrows_memory_drains_completely() -> Result<()> {
    // The relay keeps 4,096 events in memory.
    const ORDERS: usize = 6_000;
    let (proxy, url) = broker_proxy().await?;
    let mut system = System::builder().without_workers().amqp_url(Role::Producer, &url).start().await?;
    let probe = Probe::on(&system).await?;
    proxy.down().await?;
    system.producer()?.wait_for_readiness("degraded", |seen| seen.body["status"] == "degraded").await?;
    let order_ids = orders::place(&system, ORDERS, &Order::healthy()).await?;
    assert_eq!(system.metrics(Role::Producer).await?.sum("tandem_outbox_backlog", &[]), 6_000.0);
    proxy.heal().await?;
    // A restart leaves nothing in memory.
    let half = |depth: Depth| depth.ready as usize >= ORDERS / 2;
    system.queues().await?.wait_for_depth(probe.queue(), "half of the events", half).await?;
    system.replace(Role::Producer).await?;

    let mut published = HashSet::new();
    let drained = async || {
        match probe.take(&system).await {
            Ok(events) => published.extend(events.iter().filter_map(|event| order_id(&event.body))),
            Err(fault) => return ControlFlow::Break(Err(fault)),
        }
        match published.len() {
            ORDERS.. => ControlFlow::Break(Ok(())),
            some => ControlFlow::Continue(format!("{some} events")),
        }
    };
    until("the outbox to be drained", PATIENCE, drained).await??;
    assert_eq!(published, order_ids.into_iter().collect());
    // Some events were published twice because of the kill; both queues have all of them.
    for queue in [system.names.inventory(), system.names.fulfillment()] {
        let all = |depth: Depth| depth.ready as usize >= ORDERS;
        system.queues().await?.wait_for_depth(&queue, "all events", all).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_full_outbox_refuses_orders_and_delivers_those_it_accepted() -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    proxy.refuse().await?;
    let system = System::builder()
        .amqp_url(Role::Producer, &url)
        .env(Role::Producer, "OUTBOX_LIMIT", 10)
        .not_waiting_for_readiness()
        .start()
        .await?;
    let body = serde_json::to_vec(&Order::healthy())?;
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for _ in 0..15 {
        let response = system.post(&body, &[]).await?;
        if response.status == 202 {
            accepted.push(Placed::from_response(&response)?.order_id);
            continue;
        }
        refused += 1;
        assert_eq!((response.status, response.header("content-type")), (503, Some("application/problem+json")));
        assert!(response.header("retry-after").is_some_and(|wait| wait.parse::<u32>().is_ok_and(|wait| wait > 0)));
    }
    assert_eq!((accepted.len(), refused), (10, 5));

    proxy.heal().await?;
    orders::delivered_once(&system, &accepted).await?;
    assert_eq!(system.inventory_api.summary().orders, 10, "no refused order is stored");
    // There is room again.
    system.producer()?.wait_for_metric("tandem_outbox_backlog", &[], |events| events == 0.0).await?;
    let placed = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[placed.order_id]).await
}

#[tokio::test]
async fn a_full_intake_queue_refuses_orders_and_stores_none_of_them() -> Result<()> {
    let system = System::builder().env(Role::Producer, "INTAKE_QUEUE", 1).start().await?;
    let body = serde_json::to_vec(&Order::healthy())?;
    let (mut accepted, mut refused) = (Vec::new(), 0);
    let full = async || {
        for response in join_all((0..50).map(|_| system.post(&body, &[]))).await {
            match response {
                Ok(response) if response.status == 503 && response.header("retry-after").is_some() => refused += 1,
                Ok(response) => match Placed::from_response(&response) {
                    Ok(placed) => accepted.push(placed.order_id),
                    Err(fault) => return ControlFlow::Break(Err(fault)),
                },
                Err(fault) => return ControlFlow::Break(Err(fault)),
            }
        }
        if refused > 0 { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue("all accepted".to_owned()) }
    };
    until("an order to be refused", PATIENCE, full).await??;
    assert!(!accepted.is_empty(), "all orders were refused");
    orders::delivered_once(&system, &accepted).await?;
    assert_eq!(system.inventory_api.summary().orders, accepted.len() as u64);
    let busy = [("result", "busy")];
    system.producer()?.wait_for_metric("tandem_orders_total", &busy, |count| count == f64::from(refused)).await
}

fn order_id(event: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(event).ok()?;
    event["order_id"].as_str().map(str::to_owned)
}
