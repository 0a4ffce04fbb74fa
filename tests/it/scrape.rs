//! Waiting for what `/metrics` says.

use std::ops::ControlFlow;

use anyhow::Result;
use tests::{
    process::Process,
    waiting::{PATIENCE, until},
};

/// Waits until the sum of the samples of this name with these labels is as wanted.
pub(crate) async fn wait_for(
    process: &Process,
    name: &str,
    labels: &[(&str, &str)],
    wanted: impl Fn(f64) -> bool,
) -> Result<()> {
    let asked = async || match process.metrics().await {
        Ok(metrics) if metrics.has(name, labels) && wanted(metrics.sum(name, labels)) => ControlFlow::Break(()),
        Ok(metrics) if metrics.has(name, labels) => ControlFlow::Continue(metrics.sum(name, labels).to_string()),
        Ok(_) => ControlFlow::Continue("no such sample".to_owned()),
        Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
    };
    until(&format!("{name} {labels:?} of {}", process.name()), PATIENCE, asked).await
}
