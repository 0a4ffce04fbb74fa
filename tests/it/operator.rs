//! What an operator does: plans, starts and controls redrives.

use std::ops::ControlFlow;

use anyhow::Result;
use api::{Plan, Redrive};
use serde_json::{Value, json};
use tests::{
    fake_api::Behaviour,
    order::Order,
    system::{Response, System},
    waiting::{PATIENCE, until},
};

use crate::orders;

/// What this redrive would send.
pub(crate) async fn plan(system: &System, mut redrive: Value) -> Result<Plan> {
    redrive["dry_run"] = json!(true);
    system.post_at("/v1/redrives", &redrive, &[]).await?.expect(200)
}

/// Starts a redrive, and returns its path.
pub(crate) async fn start(system: &System, redrive: &Value) -> Result<String> {
    let redrive: Redrive = system.post_at("/v1/redrives", redrive, &[]).await?.expect(201)?;
    Ok(format!("/v1/redrives/{}", redrive.id))
}

/// Sends a command (`pause`, `resume` or `cancel`) to a redrive.
pub(crate) async fn control(system: &System, path: &str, command: &str) -> Result<Response> {
    system.post_at(&format!("{path}/{command}"), &json!({}), &[]).await
}

/// Waits until the redrive is as wanted. The producer may be away in the meantime.
pub(crate) async fn wait_for(
    system: &System,
    path: &str,
    what: &str,
    wanted: impl Fn(&Redrive) -> bool,
) -> Result<Redrive> {
    system.wait_for(path, what, wanted).await.map_err(|fault| system.with_logs(fault))
}

/// Waits until this many dead letters match.
pub(crate) async fn wait_for_matched(system: &System, filter: &Value, matched: u64) -> Result<Plan> {
    let asked = async || match plan(system, json!({"filter": filter})).await {
        Ok(plan) if plan.matched == matched => ControlFlow::Break(plan),
        Ok(plan) => ControlFlow::Continue(format!("{plan:?}")),
        Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
    };
    until(&format!("{matched} dead letters for {filter}"), PATIENCE, asked)
        .await
        .map_err(|fault| system.with_logs(fault))
}

/// Places orders of a product that the inventory API refuses with this status until [`accept`], and waits until they are
/// settled.
pub(crate) async fn refused(system: &System, count: usize, product: &str, status: u16) -> Result<Vec<String>> {
    system.inventory_api.set_rule(product, Behaviour::Status(status));
    let order_ids = orders::place(system, count, &Order::of(product)).await?;
    orders::settled(system, &order_ids).await?;
    Ok(order_ids)
}

/// From now on the inventory API accepts this product.
pub(crate) fn accept(system: &System, product: &str) {
    system.inventory_api.set_rule(product, Behaviour::Status(200));
}
