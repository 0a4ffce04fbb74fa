//! The doctor: a process examines what it depends on, and gives a remedy for each fault.
//!
//! An examination changes nothing except what every start of the process changes too: it declares what
//! is missing on the broker. It neither consumes nor publishes a message, and never calls a downstream
//! API.

mod downstream;

pub use downstream::downstream;

use std::{borrow::Cow, fmt, pin::Pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{event::now, word::Word, words};

/// The shortest time between two examinations; an earlier request gets the last one.
const PERIOD: Duration = Duration::from_secs(1);
/// How long an examination may take; each of its checks has a shorter deadline.
const DEADLINE: Duration = Duration::from_secs(20);

words! {
    /// The result of a check.
    pub enum Status {
        /// Nothing is wrong.
        Ok = "ok",
        /// Orders are safe, but someone should look into it.
        Warning = "warning",
        /// Orders are not accepted, published, delivered or recorded until it is fixed.
        Error = "error",
    }
}

words! {
    /// What was checked.
    pub enum Check {
        /// The store: whether it responds, and how fast.
        Database = "database",
        /// The free space where the store writes.
        Disk = "disk",
        /// Accepted orders that the broker has not confirmed.
        Outbox = "outbox",
        /// The broker: whether it can be reached, and its version.
        Broker = "broker",
        /// Whether the broker accepts messages.
        Alarm = "alarm",
        /// Whether this process has the permissions that it needs.
        Rights = "rights",
        /// An exchange.
        Exchange = "exchange",
        /// A queue and its properties.
        Queue = "queue",
        /// Where dead letters are sent.
        DeadLetterExchange = "dead_letter_exchange",
        /// How often a message may be returned.
        DeliveryLimit = "delivery_limit",
        /// Whether a queue is being consumed.
        Consumers = "consumers",
        /// Dead letters that wait in the broker.
        DeadLetters = "dead_letters",
        /// The server of the downstream API: whether it accepts connections.
        Downstream = "downstream",
        /// Whether clocks agree.
        Clock = "clock",
        /// The examination itself.
        Examination = "examination",
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// What was checked.
    #[cfg_attr(feature = "openapi", schema(value_type = Check))]
    pub check: Word<Check>,
    /// Which one, such as the name of a queue or the address of a server.
    pub subject: String,
    /// The result.
    #[cfg_attr(feature = "openapi", schema(value_type = Status))]
    pub status: Word<Status>,
    /// An explanation.
    pub detail: String,
    /// What to do about it; absent if nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false))]
    pub remedy: Option<String>,
}

impl Finding {
    /// Nothing is wrong.
    #[must_use]
    pub fn ok(check: impl Into<Word<Check>>, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        let (check, status) = (check.into(), Status::Ok.into());
        Self { check, subject: subject.into(), status, detail: detail.into(), remedy: None }
    }

    /// Someone should look into it.
    #[must_use]
    pub fn warning(
        check: impl Into<Word<Check>>,
        subject: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { status: Status::Warning.into(), remedy: Some(remedy.into()), ..Self::ok(check, subject, detail) }
    }

    /// It must be fixed.
    #[must_use]
    pub fn error(
        check: impl Into<Word<Check>>,
        subject: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { status: Status::Error.into(), remedy: Some(remedy.into()), ..Self::ok(check, subject, detail) }
    }
}

/// The answer of `/v1/doctor`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Examination {
    /// When the checks began, by this process's clock (RFC 3339, UTC).
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub checked_at: Timestamp,
    /// The process, by the name of its binary.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub service: Cow<'static, str>,
    /// The result of every check.
    pub findings: Vec<Finding>,
}

type Findings = Pin<Box<dyn Future<Output = Vec<Finding>> + Send>>;

/// Runs examinations on request. Clones share it.
#[derive(Clone)]
pub struct Doctor(Arc<Inner>);

struct Inner {
    service: &'static str,
    examine: Box<dyn Fn() -> Findings + Send + Sync>,
    last: Mutex<Option<(Instant, Examination)>>,
}

impl Doctor {
    /// A doctor for the process called `service`. `examine` runs all its checks once.
    pub fn new<F, Fut>(service: &'static str, examine: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<Finding>> + Send + 'static,
    {
        let examine = Box::new(move || Box::pin(examine()) as Findings);
        Self(Arc::new(Inner { service, examine, last: Mutex::new(None) }))
    }

    /// Runs an examination, unless there was one within the last second. Only one runs at a time: further
    /// callers wait for it and share its result.
    ///
    /// Cancellation safe: if it is dropped, the next caller runs another one.
    pub async fn examination(&self) -> Examination {
        let mut last = self.0.last.lock().await;
        if let Some((at, examination)) = &*last
            && at.elapsed() < PERIOD
        {
            return examination.clone();
        }
        let checked_at = now();
        let findings = timeout(DEADLINE, (self.0.examine)()).await.unwrap_or_else(|_| {
            let detail = format!("not finished within {} s", DEADLINE.as_secs());
            let remedy = "something responds too slowly to be examined: check the load of this machine, the broker and the \
                          database, and run the doctor again";
            vec![Finding::error(Check::Examination, self.0.service, detail, remedy)]
        });
        let examination = Examination { checked_at, service: self.0.service.into(), findings };
        *last = Some((Instant::now(), examination.clone()));
        examination
    }
}

impl fmt::Debug for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Doctor").field(&self.0.service).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn counting() -> (Doctor, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let doctor = Doctor::new("north", move || {
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                vec![Finding::ok(Check::Clock, "clock", number.to_string())]
            }
        });
        (doctor, count)
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_one_examination_and_a_second_later_there_is_a_new_one() {
        let (doctor, count) = counting();
        let crowd = (0..100).map(|_| doctor.examination());
        for examination in futures_util::future::join_all(crowd).await {
            assert_eq!(examination.findings[0].detail, "1");
        }
        tokio::time::sleep(PERIOD).await;
        assert_eq!(doctor.examination().await.findings[0].detail, "2");
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_examination_that_hangs_is_itself_a_finding() {
        let doctor = Doctor::new("north", std::future::pending);
        let examination = doctor.examination().await;
        assert_eq!(examination.findings[0].check, Check::Examination);
        assert!(examination.findings[0].remedy.is_some());
    }

    #[test]
    fn a_finding_without_a_fault_has_no_remedy() {
        let well = serde_json::to_value(Finding::ok(Check::DeadLetterExchange, "x", "y")).unwrap();
        let expected =
            serde_json::json!({"check": "dead_letter_exchange", "subject": "x", "status": "ok", "detail": "y"});
        assert_eq!(well, expected);
    }
}
