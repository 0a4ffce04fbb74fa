//! What an operator asks of the producer: redrives and reconciliation.

use std::ops::ControlFlow;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    fake_api::Behaviour,
    order::Order,
    system::System,
    waiting::{PATIENCE, until},
};

use crate::crowd;

/// An answer's status and body.
pub(crate) type Answer = (u16, Value);

pub(crate) async fn post(system: &System, path: &str, body: &Value) -> Result<Answer> {
    let url = format!("{}{path}", system.producer()?.url().await?);
    let request = tests::http::client()?.post(url).header("content-type", "application/json").body(body.to_string());
    read(request.timeout(PATIENCE).send().await?).await
}

pub(crate) async fn get(system: &System, path: &str) -> Result<Answer> {
    read(system.producer()?.get(path).await?).await
}

async fn read(response: reqwest::Response) -> Result<Answer> {
    let status = response.status().as_u16();
    let text = response.text().await?;
    Ok((status, serde_json::from_str(&text).with_context(|| text.clone())?))
}

/// What would be sent.
pub(crate) async fn plan(system: &System, mut wish: Value) -> Result<Value> {
    wish["dry_run"] = json!(true);
    let (status, plan) = post(system, "/v1/redrives", &wish).await?;
    ensure!(status == 200, "{status} {plan}");
    Ok(plan)
}

/// Begins a redrive, and returns its path.
pub(crate) async fn begin(system: &System, wish: &Value) -> Result<String> {
    let (status, redrive) = post(system, "/v1/redrives", wish).await?;
    ensure!(status == 201, "{status} {redrive}");
    Ok(format!("/v1/redrives/{}", redrive["id"].as_str().context("no id")?))
}

/// Waits until the redrive is as wanted. The producer may be away meanwhile.
pub(crate) async fn wait_for(
    system: &System,
    path: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let asked = async || match get(system, path).await {
        Ok((200, seen)) if wanted(&seen) => ControlFlow::Break(seen),
        Ok((status, seen)) => ControlFlow::Continue(format!("{status} {seen}")),
        Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
    };
    until(&format!("{path} to be {what}"), PATIENCE, asked).await.map_err(|fault| system.with_logs(fault))
}

/// Waits until so many dead letters match.
pub(crate) async fn wait_for_matched(system: &System, filter: &Value, matched: u64) -> Result<Value> {
    let asked = async || match plan(system, json!({"filter": filter})).await {
        Ok(plan) if plan["matched"] == matched => ControlFlow::Break(plan),
        Ok(plan) => ControlFlow::Continue(plan.to_string()),
        Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
    };
    until(&format!("{matched} dead letters for {filter}"), PATIENCE, asked)
        .await
        .map_err(|fault| system.with_logs(fault))
}

/// Orders of a product that the inventory API refuses with this status until it is mended by [`mend`].
pub(crate) async fn refused(system: &System, count: usize, product: &str, status: u16) -> Result<Vec<String>> {
    system.inventory_api.set_rule(product, Behaviour::Status(status));
    let order_ids = crowd::place(system, count, &Order::of(product)).await?;
    crowd::settled(system, &order_ids).await?;
    Ok(order_ids)
}

pub(crate) fn mend(system: &System, product: &str) {
    system.inventory_api.set_rule(product, Behaviour::Status(200));
}
