//! Under what conditions was measured.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::cpu::Servers;

/// Machine, versions and what else was going on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Conditions {
    /// UTC.
    pub(super) at: String,
    pub(super) commit: String,
    pub(super) cores: usize,
    pub(super) processor: String,
    pub(super) kernel: String,
    /// Over 1, 5 and 15 minutes, before anything was started here.
    pub(super) load_before: String,
    pub(super) rabbitmq: String,
    pub(super) rust: String,
    pub(super) lapin: String,
    /// The file system of SQLite files, or the version of the database server.
    pub(super) database: String,
}

/// The load average now.
pub(super) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

impl Conditions {
    /// Those of now.
    pub(super) async fn now(load_before: String, servers: &Servers, data: &std::path::Path) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let root = crate::cargo::workspace()?;
        let lock = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
        Ok(Self {
            at: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).await,
            commit: said("git", &["-C", &root.to_string_lossy(), "describe", "--always", "--dirty"]).await,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: model.map(|(_, model)| model.to_owned()).unwrap_or_default(),
            kernel: read("/proc/sys/kernel/osrelease").trim_end().to_owned(),
            load_before,
            rabbitmq: servers.broker.ctl(&["version"]).await.unwrap_or_else(|_| "not ours, not known".to_owned()),
            rust: said("rustc", &["--version"]).await,
            lapin: version(&lock, "lapin").unwrap_or_default().to_owned(),
            database: match &servers.database {
                None => format!("SQLite on {}", said("stat", &["-f", "-c", "%T", &data.to_string_lossy()]).await),
                Some(server) => {
                    let database = server.fresh_database().await?;
                    let client = database.connect().await?;
                    let version: String = client.query_one("SHOW server_version", &[]).await?.get(0);
                    format!("PostgreSQL {version}, each commit flushed")
                }
            },
        })
    }
}

/// What a command prints; nothing where there is no such command.
async fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).kill_on_drop(true).output().await;
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The version of a package in a `Cargo.lock`.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    rest.split_once('"').map(|(version, _)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_the_lock_file() {
        let lock =
            "[[package]]\nname = \"lapin-x\"\nversion = \"9\"\n\n[[package]]\nname = \"lapin\"\nversion = \"4.1\"\n";
        assert_eq!(version(lock, "lapin"), Some("4.1"));
        assert_eq!(version(lock, "other"), None);
    }
}
