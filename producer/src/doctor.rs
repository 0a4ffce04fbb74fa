//! What the producer's doctor examines: the store, the free space on its disk, the outbox, and the broker.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    broker::{
        Broker,
        inspection::{self, Needs},
    },
    destination::Name,
    doctor::{Check, Finding},
    event::now,
    health::{Component, ComponentStatus},
};
use tokio::time::timeout;

use crate::outbox::Outbox;
use store::{Backlog, Desk};

/// How long the store may take over a read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A read that takes longer than this is a warning.
const SLOW: Duration = Duration::from_millis(500);
/// An accepted order that has waited longer than this for the broker is a warning.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Less free space than this, in bytes, is a warning.
const LOW_SPACE: u64 = 1 << 30;
/// Less free space than this, in bytes, is an error: the next orders may not fit.
const NO_SPACE: u64 = 64 << 20;

/// Everything the producer depends on.
#[derive(Clone, Debug)]
pub(crate) struct Examination {
    pub(crate) broker: Broker,
    pub(crate) needs: Needs,
    pub(crate) desk: Desk,
    pub(crate) outbox: Arc<Outbox>,
    /// Whether the writer can write.
    pub(crate) store: Component,
    /// The database, if it is a file on this machine.
    pub(crate) file: Option<PathBuf>,
}

impl Examination {
    /// Every finding, in the order of the flow. The store's part takes at most [`READ_TIMEOUT`].
    pub(crate) async fn findings(self) -> Vec<Finding> {
        let store = async {
            let begun = Instant::now();
            let read = timeout(READ_TIMEOUT, self.desk.backlog()).await;
            let mut findings = vec![self.writer()];
            match read {
                Ok(Ok(backlog)) => {
                    findings.insert(0, read_took(begun.elapsed()));
                    findings.push(unpublished(self.outbox.backlog(), &backlog));
                    findings.extend(self.outbox.lags().iter().filter_map(|(name, lag)| behind(name, *lag)));
                }
                Ok(Err(fault)) => findings.insert(0, unreadable(&fault.to_string())),
                Err(_) => findings.insert(0, unreadable(&format!("no answer within {} s", READ_TIMEOUT.as_secs()))),
            }
            findings.extend(self.file.as_deref().map(disk));
            findings
        };
        let (mut findings, broker) = tokio::join!(store, inspection::inspect(&self.broker, &self.needs));
        findings.extend(broker);
        findings
    }

    /// The writer keeps retrying while it cannot write, and its health says so.
    fn writer(&self) -> Finding {
        match self.store.report() {
            writer if writer.status == ComponentStatus::Down => Finding::error(
                Check::Database,
                "writer",
                format!("orders cannot be stored: {}", writer.reason.unwrap_or_default()),
                "free space on its disk, or bring the database back; the producer continues by itself once it can write. \
                 Until then it answers POST with 503",
            ),
            _ => Finding::ok(Check::Database, "writer", "orders are stored"),
        }
    }
}

fn read_took(took: Duration) -> Finding {
    let detail = format!("answers a read in {} ms", took.as_millis());
    if took < SLOW {
        return Finding::ok(Check::Database, "reader", detail);
    }
    let remedy = "check the load on the database's machine and disk; slow reads delay each other";
    Finding::warning(Check::Database, "reader", detail, remedy)
}

fn unreadable(cause: &str) -> Finding {
    let detail = format!("does not answer a read: {cause}");
    let remedy = "bring the database at DATABASE_URL back, or check its load if it is running";
    Finding::error(Check::Database, "reader", detail, remedy)
}

/// Accepted orders that are not published yet.
fn unpublished(orders: u64, backlog: &Backlog) -> Finding {
    if orders == 0 {
        return Finding::ok(Check::Outbox, "outbox", "every accepted order is published");
    }
    let age = backlog.oldest_at.map_or(0, |at| now().as_second() - at.as_second());
    let detail = format!("{orders} accepted orders wait to be published, the oldest for {age} s");
    if age <= LONGEST_WAIT.as_secs().cast_signed() {
        return Finding::ok(Check::Outbox, "outbox", detail);
    }
    let remedy = "they are safe, and are published once the broker takes them: check the findings about the broker, and \
                  whether a queue is full";
    Finding::warning(Check::Outbox, "outbox", detail, remedy)
}

/// A destination that has fallen behind the others.
fn behind(destination: &Name, orders: u64) -> Option<Finding> {
    let detail = format!("{orders} orders wait for the queue of {destination}, which takes fewer than the others");
    let remedy = "the other destinations get their orders meanwhile; find out why its queue is full or has no leader, and \
                  whether its workers run";
    (orders > 0).then(|| Finding::warning(Check::Outbox, destination.as_str(), detail, remedy))
}

/// The free space where the file is.
fn disk(file: &Path) -> Finding {
    // A bare name is a file in the working directory.
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let subject = directory.display().to_string();
    match rustix::fs::statvfs(directory) {
        Ok(disk) => free_space(&subject, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(fault) => Finding::warning(
            Check::Disk,
            subject,
            format!("the free space is unknown: {fault}"),
            "check that the directory in DATABASE_URL still exists and is readable",
        ),
    }
}

fn free_space(subject: &str, bytes: u64) -> Finding {
    let detail = format!("{} MiB free", bytes >> 20);
    let remedy = "free space, or move the database to a larger disk: an order that does not fit is answered with 503";
    match bytes {
        ..NO_SPACE => Finding::error(Check::Disk, subject, detail, remedy),
        NO_SPACE..LOW_SPACE => Finding::warning(Check::Disk, subject, detail, remedy),
        _ => Finding::ok(Check::Disk, subject, detail),
    }
}

#[cfg(test)]
mod tests {
    use common::doctor::Status;
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn low_disk_space_is_a_warning_and_none_left_an_error() {
        for (bytes, status) in
            [(0, Status::Error), (NO_SPACE, Status::Warning), (LOW_SPACE, Status::Ok), (u64::MAX, Status::Ok)]
        {
            assert_eq!(free_space("/", bytes).status, status, "{bytes}");
        }
        assert_ne!(disk(Path::new("orders.db")).detail, "");
        assert_eq!(disk(Path::new("/no/such/directory/orders.db")).status, Status::Warning);
    }

    #[test]
    fn orders_that_wait_too_long_are_a_warning() {
        for (orders, seconds, status) in [(0, 900, Status::Ok), (7, 1, Status::Ok), (7, 900, Status::Warning)] {
            let oldest_at = Some(now() - SignedDuration::from_secs(seconds));
            let backlog = Backlog { oldest_at, ..Backlog::default() };
            assert_eq!(unpublished(orders, &backlog).status, status);
        }
    }
}
