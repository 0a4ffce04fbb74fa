//! Writes forced to disk, counted by `strace` in a run that measures nothing else, because tracing slows it.

use std::{env, ffi::OsString, fs, ops::ControlFlow, path::Path, time::Duration};

use ::tests::waiting;
use anyhow::Result;
use serde::Serialize;
use tokio::process::Command;

use crate::{
    campaign::Campaign,
    load::{Audit, Load},
    round::Transactions,
    system,
};

const ORDERS: u64 = 5_000;
/// Only these calls stop the process, so that it runs at nearly full speed.
const STRACE: [&str; 7] = ["-D", "-f", "-qq", "--seccomp-bpf", "-c", "-e", "trace=fsync,fdatasync,sync_file_range"];

/// Writes forced to disk by a producer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Syncs {
    pub(crate) orders: u64,
    pub(crate) transactions: f64,
    /// Absent if no `strace` is installed, or it may not trace here.
    pub(crate) syncs: Option<u64>,
    pub(crate) audit: Audit,
}

impl Campaign {
    pub(crate) async fn syncs(&self) -> Result<Syncs> {
        let file = self.data.join("strace");
        let load = Load::start()?;
        let setup = self.setup("syncs", &load).await?;
        let tracer = tracer(&file).await;
        let producer = match &tracer {
            Some(tracer) => setup.traced_producer(tracer),
            None => setup.producer(),
        };
        let system = setup.start(producer).await?;
        load.place(self.target(system.producer()).await?, self.closed_loop(ORDERS)).await?;
        system::settled(system.producer(), ORDERS).await?;
        let transactions = Transactions::of(system.producer()).await?.count;
        system.end().await?;
        setup.remove().await?;
        let syncs = if tracer.is_some() { Some(counted(&file).await?) } else { None };
        Ok(Syncs { orders: ORDERS, transactions, syncs, audit: load.audit() })
    }
}

/// The command that counts the calls of the program after it, into `file`; `None` if there is no `strace` that may
/// trace. The traced program is still a child of the one that starts it: the tracer is a grandchild.
async fn tracer(file: &Path) -> Option<Vec<OsString>> {
    let path = env::var_os("PATH")?;
    let strace = env::split_paths(&path).map(|directory| directory.join("strace")).find(|file| file.is_file())?;
    let probe = Command::new(&strace).args(STRACE).args(["-o", "/dev/null", "true"]).kill_on_drop(true).output().await;
    if !probe.is_ok_and(|probe| probe.status.success() && probe.stderr.is_empty()) {
        return None;
    }
    let arguments = STRACE.iter().map(OsString::from).chain(["-o".into(), file.into()]);
    Some(std::iter::once(strace.into()).chain(arguments).collect())
}

/// The number of calls that `strace` has counted; the file is complete soon after the end of the process.
async fn counted(file: &Path) -> Result<u64> {
    let read = async || match fs::read_to_string(file).ok().as_deref().and_then(total) {
        Some(calls) => ControlFlow::Break(calls),
        None => ControlFlow::Continue("no total".to_owned()),
    };
    waiting::until("strace to write its summary", Duration::from_secs(10), read).await
}

/// The fourth column of the last line: `100.00 0.123456 40 3050 total`.
fn total(summary: &str) -> Option<u64> {
    let line = summary.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_the_summary() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.014321          14      1002           fdatasync\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.014321          14      1002           total\n";
        assert_eq!(total(summary), Some(1002));
        assert_eq!(total(""), None);
    }
}
