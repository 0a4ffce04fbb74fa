//! An outbox that fills up.

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

use crate::{crowd, link::link, probe::Probe, scrape};

#[tokio::test]
async fn an_outbox_that_outgrows_memory_drains_completely() -> Result<()> {
    // The relay keeps 4,096 events in memory.
    const ORDERS: usize = 6_000;
    let (proxy, url) = link().await?;
    let mut system = System::builder().without_workers().amqp_url(Role::Producer, &url).start().await?;
    let probe = Probe::on(&system).await?;
    proxy.down().await?;
    system.producer()?.wait_for_readiness("degraded", |seen| seen.body["status"] == "degraded").await?;
    let order_ids = crowd::place(&system, ORDERS, &Order::healthy()).await?;
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
    // What was published twice, because of the kill, is in both queues all the same.
    for queue in [system.names.inventory(), system.names.fulfillment()] {
        let all = |depth: Depth| depth.ready as usize >= ORDERS;
        system.queues().await?.wait_for_depth(&queue, "all events", all).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_full_outbox_refuses_orders_and_delivers_those_it_accepted() -> Result<()> {
    let (proxy, url) = link().await?;
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
        let answer = system.post(&body, &[]).await?;
        if answer.status == 202 {
            accepted.push(Placed::from_answer(&answer)?.order_id);
            continue;
        }
        refused += 1;
        assert_eq!((answer.status, answer.header("content-type")), (503, Some("application/problem+json")));
        assert!(answer.header("retry-after").is_some_and(|wait| wait.parse::<u32>().is_ok_and(|wait| wait > 0)));
    }
    assert_eq!((accepted.len(), refused), (10, 5));

    proxy.heal().await?;
    crowd::delivered_once(&system, &accepted).await?;
    assert_eq!(system.inventory_api.summary().orders, 10, "what was refused is nowhere");
    // There is room again.
    scrape::wait_for(system.producer()?, "tandem_outbox_backlog", &[], |events| events == 0.0).await?;
    let placed = system.place(&Order::healthy()).await?;
    crowd::delivered_once(&system, &[placed.order_id]).await
}

#[tokio::test]
async fn a_full_intake_queue_refuses_orders_and_stores_none_of_them() -> Result<()> {
    let system = System::builder().env(Role::Producer, "INTAKE_QUEUE", 1).start().await?;
    let body = serde_json::to_vec(&Order::healthy())?;
    let (mut accepted, mut refused) = (Vec::new(), 0);
    let crowded = async || {
        for answer in join_all((0..50).map(|_| system.post(&body, &[]))).await {
            match answer {
                Ok(answer) if answer.status == 503 && answer.header("retry-after").is_some() => refused += 1,
                Ok(answer) => match Placed::from_answer(&answer) {
                    Ok(placed) => accepted.push(placed.order_id),
                    Err(fault) => return ControlFlow::Break(Err(fault)),
                },
                Err(fault) => return ControlFlow::Break(Err(fault)),
            }
        }
        if refused > 0 { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue("all accepted".to_owned()) }
    };
    until("an order to be refused", PATIENCE, crowded).await??;
    assert!(!accepted.is_empty(), "all were refused");
    crowd::delivered_once(&system, &accepted).await?;
    assert_eq!(system.inventory_api.summary().orders, accepted.len() as u64);
    let busy = [("result", "busy")];
    scrape::wait_for(system.producer()?, "tandem_orders_total", &busy, |count| count == f64::from(refused)).await
}

fn order_id(event: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(event).ok()?;
    event["order_id"].as_str().map(str::to_owned)
}
