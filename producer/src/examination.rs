//! What the producer's doctor looks at: the store, the room on its disk, the outbox, and the broker.

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
    doctor::{Check, Finding},
    event::now,
    health::{Component, ComponentStatus},
};
use tokio::time::timeout;

use crate::outbox::Outbox;
use store::{Backlog, Reads};

/// How long the store may take over a read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A read that takes longer than this is told.
const SLOW: Duration = Duration::from_millis(500);
/// An accepted order that has waited longer than this for the broker is told.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Less room than this on the disk is told; below the second, the next orders may not fit.
const LITTLE_ROOM: u64 = 1 << 30;
const NO_ROOM: u64 = 64 << 20;

/// Everything that the producer depends on.
#[derive(Clone, Debug)]
pub(crate) struct Examination {
    pub(crate) broker: Broker,
    pub(crate) needs: Needs,
    pub(crate) reads: Reads,
    pub(crate) outbox: Arc<Outbox>,
    /// Whether the writer can write.
    pub(crate) store: Component,
    /// Where orders are kept, if that is a file of this machine.
    pub(crate) file: Option<PathBuf>,
}

impl Examination {
    /// Every finding, in the order of the flow.
    pub(crate) async fn findings(self) -> Vec<Finding> {
        let store = async {
            let begun = Instant::now();
            let read = timeout(READ_TIMEOUT, self.reads.backlog()).await;
            let mut findings = vec![self.written()];
            match read {
                Ok(Ok(backlog)) => {
                    findings.insert(0, answered(begun.elapsed()));
                    findings.push(waiting(self.outbox.backlog(), &backlog));
                }
                Ok(Err(fault)) => findings.insert(0, unanswered(&fault.to_string())),
                Err(_) => findings.insert(0, unanswered(&format!("no answer within {} s", READ_TIMEOUT.as_secs()))),
            }
            findings.extend(self.file.as_deref().map(room));
            findings
        };
        let (mut findings, broker) = tokio::join!(store, inspection::inspect(&self.broker, &self.needs));
        findings.extend(broker);
        findings
    }

    /// The writer tries again by itself while it cannot write, and its part of the health says so.
    fn written(&self) -> Finding {
        match self.store.report() {
            part if part.status == ComponentStatus::Down => Finding::error(
                Check::Database,
                "writer",
                format!("orders cannot be stored: {}", part.reason.unwrap_or_default()),
                "make room on its disk, or bring the database back; the producer goes on by itself when it can write. \
                 Until then POST is answered with 503",
            ),
            _ => Finding::ok(Check::Database, "writer", "orders are stored"),
        }
    }
}

fn answered(took: Duration) -> Finding {
    let detail = format!("answers a read in {} ms", took.as_millis());
    if took < SLOW {
        return Finding::ok(Check::Database, "reader", detail);
    }
    let remedy = "look at the load of the database's machine and disk; reads wait for each other here";
    Finding::warning(Check::Database, "reader", detail, remedy)
}

fn unanswered(cause: &str) -> Finding {
    let detail = format!("does not answer a read: {cause}");
    let remedy = "bring the database at DATABASE_URL back, or look at its load if it is there";
    Finding::error(Check::Database, "reader", detail, remedy)
}

/// What was accepted and is not published.
fn waiting(orders: u64, backlog: &Backlog) -> Finding {
    if orders == 0 {
        return Finding::ok(Check::Outbox, "outbox", "every accepted order is published");
    }
    let age = backlog.oldest_at.map_or(0, |at| now().as_second() - at.as_second());
    let detail = format!("{orders} accepted orders wait to be published, the oldest for {age} s");
    if age <= LONGEST_WAIT.as_secs().cast_signed() {
        return Finding::ok(Check::Outbox, "outbox", detail);
    }
    let remedy = "they are safe, and published when the broker takes them: look at what is said of the broker, and \
                  whether a queue is full";
    Finding::warning(Check::Outbox, "outbox", detail, remedy)
}

/// The room that is left where the file is.
fn room(file: &Path) -> Finding {
    // A bare name is a file of the working directory.
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let subject = directory.display().to_string();
    match rustix::fs::statvfs(directory) {
        Ok(disk) => of_room(&subject, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(fault) => Finding::warning(
            Check::Disk,
            subject,
            format!("the room left cannot be told: {fault}"),
            "look whether the directory in DATABASE_URL is still there and readable",
        ),
    }
}

fn of_room(subject: &str, bytes: u64) -> Finding {
    let detail = format!("{} MiB are left", bytes >> 20);
    let remedy = "make room, or move the database to a larger disk: an order that does not fit is answered with 503";
    match bytes {
        ..NO_ROOM => Finding::error(Check::Disk, subject, detail, remedy),
        NO_ROOM..LITTLE_ROOM => Finding::warning(Check::Disk, subject, detail, remedy),
        _ => Finding::ok(Check::Disk, subject, detail),
    }
}

#[cfg(test)]
mod tests {
    use common::doctor::Status;
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn little_room_is_a_warning_and_none_an_error() {
        for (bytes, status) in
            [(0, Status::Error), (NO_ROOM, Status::Warning), (LITTLE_ROOM, Status::Ok), (u64::MAX, Status::Ok)]
        {
            assert_eq!(of_room("/", bytes).status, status, "{bytes}");
        }
        assert_ne!(room(Path::new("orders.db")).detail, "");
        assert_eq!(room(Path::new("/no/such/directory/orders.db")).status, Status::Warning);
    }

    #[test]
    fn orders_that_wait_are_told_when_they_wait_long() {
        for (orders, seconds, status) in [(0, 900, Status::Ok), (7, 1, Status::Ok), (7, 900, Status::Warning)] {
            let oldest_at = Some(now() - SignedDuration::from_secs(seconds));
            let backlog = Backlog { oldest_at, ..Backlog::default() };
            assert_eq!(waiting(orders, &backlog).status, status);
        }
    }
}
