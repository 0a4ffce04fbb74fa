use std::{ops::ControlFlow, path::Path, time::Duration};

use anyhow::Result;
use tests::{
    process::Program,
    waiting::{PATIENCE, until},
};

fn fake_api() -> Program {
    Program::new(env!("CARGO_BIN_EXE_fake-api")).env("HTTP_ADDR", "127.0.0.1:0")
}

async fn wait_until_gone(pid: u32) -> Result<()> {
    let gone = async || match std::fs::read_to_string(format!("/proc/{pid}/cmdline")) {
        Ok(line) if !line.is_empty() => ControlFlow::Continue(line),
        _ => ControlFlow::Break(()),
    };
    until("the process to be gone", PATIENCE, gone).await
}

#[tokio::test]
async fn a_process_logs_its_address_and_exits_on_sigterm() -> Result<()> {
    let process = fake_api().start()?;
    assert_eq!(process.get("/healthz").await?.status(), 200);
    assert!(process.usage()?.rss > 0);
    process.terminate()?;
    assert_eq!(process.wait_exit().await?.code(), Some(0));
    assert!(process.terminate().is_err(), "it has ended");
    Ok(())
}

#[tokio::test]
async fn waiting_for_a_process_that_fails_reports_its_log() -> Result<()> {
    let process = fake_api().env("HTTP_ADDR", "nowhere").start()?;
    let fault = process.http_addr().await.unwrap_err();
    assert!(format!("{fault:#}").contains("HTTP_ADDR is not an address"), "{fault:#}");
    assert_eq!(process.wait_exit().await?.code(), Some(1));
    Ok(())
}

#[tokio::test]
async fn a_frozen_process_answers_again_when_thawed() -> Result<()> {
    let process = fake_api().start()?;
    process.http_addr().await?;
    process.stop()?;
    assert!(tokio::time::timeout(Duration::from_millis(200), process.get("/healthz")).await.is_err());
    process.cont()?;
    assert_eq!(process.get("/healthz").await?.status(), 200);
    process.kill9().await?;
    assert_eq!(process.exit_status().and_then(|status| status.code()), None);
    Ok(())
}

#[tokio::test]
async fn a_dropped_process_is_gone() -> Result<()> {
    let process = fake_api().start()?;
    process.http_addr().await?;
    let pid = process.pid();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    drop(process);
    wait_until_gone(pid).await
}

#[tokio::test]
async fn a_process_does_not_outlive_an_owner_that_is_killed() -> Result<()> {
    let owner = Program::new(std::env::current_exe()?)
        .env("OWNER_OF_A_PROCESS", "1")
        .arg("harness::process::owner_of_a_process_that_is_killed")
        .arg("--exact")
        .arg("--nocapture")
        .start()?;
    let line = owner.wait_for_log("the pid", |line| line.field("pid").is_some()).await?;
    let pid = line.field("pid").unwrap().parse()?;
    owner.kill9().await?;
    wait_until_gone(pid).await
}

/// Not a test, but the process that the test above kills.
#[tokio::test]
async fn owner_of_a_process_that_is_killed() -> Result<()> {
    if std::env::var_os("OWNER_OF_A_PROCESS").is_none() {
        return Ok(());
    }
    let process = fake_api().start()?;
    process.http_addr().await?;
    println!("\n{}", serde_json::json!({"pid": process.pid().to_string()}));
    std::future::pending().await
}
