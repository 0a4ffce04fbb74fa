//! The conditions of a measurement: machine, versions, and what else the machine was doing.

use std::{fs, path::Path};

use anyhow::Result;
use jiff::{Timestamp, Unit};
use serde::Serialize;
use tokio::process::Command;

use crate::usage::Servers;

/// Machine, versions and what else the machine was doing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Conditions {
    /// RFC 3339, UTC.
    pub(crate) at: String,
    /// Of the source tree, which is not that of the binaries when `--binaries` is given.
    pub(crate) commit: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    /// Over 1, 5 and 15 minutes, before anything was started.
    pub(crate) load_before: String,
    pub(crate) rabbitmq: String,
    /// The file system of SQLite files, or the version of the database server.
    pub(crate) store: String,
}

/// The load average now.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

impl Conditions {
    /// The conditions now.
    pub(crate) async fn now(load_before: String, servers: &Servers, data: &Path) -> Result<Self> {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            at: Timestamp::now().round(Unit::Second)?.to_string(),
            commit: output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]).await,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: model.map(|(_, model)| model.to_owned()).unwrap_or_default(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim_end().to_owned(),
            load_before,
            rabbitmq: servers.broker.ctl(&["version"]).await.unwrap_or_else(|_| "of unknown version".to_owned()),
            store: match &servers.database {
                None => format!("SQLite on {}", output("stat", &["-f", "-c", "%T", &data.to_string_lossy()]).await),
                Some(server) => {
                    let database = server.fresh_database().await?;
                    let version = database.connect().await?.query_one("SHOW server_version", &[]).await?;
                    let version: String = version.get(0);
                    format!("PostgreSQL {version}")
                }
            },
        })
    }
}

/// What a command prints; nothing if there is no such command.
async fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).kill_on_drop(true).output().await;
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
