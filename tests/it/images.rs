//! The official images, or stand-ins if no registry is reachable.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{process::Command, sync::Mutex};

/// The exit code of the script of stand-in images if it cannot work here (`EX_UNAVAILABLE`).
const UNAVAILABLE: i32 = 69;

const QUESTION_DEADLINE: Duration = Duration::from_secs(30);
/// For pulling images, or making stand-ins.
const PROVISION_DEADLINE: Duration = Duration::from_secs(20 * 60);

/// Provides the engine with these images, or returns why that is impossible.
pub(crate) async fn provide(images: &[&str]) -> Result<Result<(), String>> {
    // Other tests may need the same images at the same time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    if !succeeds(&["version"], QUESTION_DEADLINE).await {
        return Ok(Err("no Docker Engine responds".to_owned()));
    }
    let mut missing = Vec::new();
    for image in images {
        let there = succeeds(&["image", "inspect", image], QUESTION_DEADLINE).await;
        if !there && !succeeds(&["pull", "--quiet", image], PROVISION_DEADLINE).await {
            missing.push(*image);
        }
    }
    if missing.is_empty() {
        return Ok(Ok(()));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/stand-in-images.sh");
    let made = output(Command::new(script).args(&missing), PROVISION_DEADLINE).await?;
    let said = String::from_utf8_lossy(&made.stderr).trim_end().to_owned();
    if made.status.code() == Some(UNAVAILABLE) {
        return Ok(Err(format!("{missing:?} cannot be pulled, and {said}")));
    }
    ensure!(made.status.success(), "no stand-ins for {missing:?}: {said}");
    Ok(Ok(()))
}

/// Runs the command to completion.
pub(crate) async fn output(command: &mut Command, deadline: Duration) -> Result<Output> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(deadline, output).await;
    output.with_context(|| format!("not done in {deadline:?}: {command:?}"))?.with_context(|| format!("{command:?}"))
}

async fn succeeds(arguments: &[&str], deadline: Duration) -> bool {
    output(Command::new("docker").args(arguments), deadline).await.is_ok_and(|output| output.status.success())
}
