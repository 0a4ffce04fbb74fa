//! The doctor: a process examines what it depends on, and says of each fault what to do about it.
//!
//! An examination changes nothing but what every start of the process does anyway: it declares what
//! is missing on the broker. It takes no message and sends none, and never calls a downstream API.

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

/// An examination is repeated after this long at the earliest; whoever asks sooner is told the last one.
const PERIOD: Duration = Duration::from_secs(1);
/// How long an examination may take: its checks have shorter deadlines each.
const DEADLINE: Duration = Duration::from_secs(20);

words! {
    /// How a thing was found.
    pub enum Status {
        /// As it should be.
        Ok = "ok",
        /// Orders are safe, but somebody should look.
        Warning = "warning",
        /// Orders are not taken, published, delivered or recorded until it is mended.
        Error = "error",
    }
}

words! {
    /// What was examined.
    pub enum Check {
        /// The store: whether it answers, and how fast.
        Database = "database",
        /// The room left where the store writes.
        Disk = "disk",
        /// Accepted orders that the broker has not confirmed.
        Outbox = "outbox",
        /// The broker: whether it can be reached, and its version.
        Broker = "broker",
        /// Whether the broker takes messages at present.
        Alarm = "alarm",
        /// Whether the broker lets this process do what it must.
        Rights = "rights",
        /// An exchange.
        Exchange = "exchange",
        /// A queue and its properties.
        Queue = "queue",
        /// The way of dead letters.
        DeadLetterExchange = "dead_letter_exchange",
        /// How often a message may come back.
        DeliveryLimit = "delivery_limit",
        /// Whether somebody takes from a queue.
        Consumers = "consumers",
        /// Dead letters that wait in the broker.
        DeadLetters = "dead_letters",
        /// The downstream API's server: whether it takes connections.
        Downstream = "downstream",
        /// Whether clocks agree.
        Clock = "clock",
        /// The examination itself.
        Examination = "examination",
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// What was examined.
    #[cfg_attr(feature = "openapi", schema(value_type = Check))]
    pub check: Word<Check>,
    /// Which one: the queue's name, the server's address.
    pub subject: String,
    /// How it was found.
    #[cfg_attr(feature = "openapi", schema(value_type = Status))]
    pub status: Word<Status>,
    /// In words.
    pub detail: String,
    /// What to do about it; absent when nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false))]
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well with it.
    #[must_use]
    pub fn ok(check: impl Into<Word<Check>>, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        let (check, status) = (check.into(), Status::Ok.into());
        Self { check, subject: subject.into(), status, detail: detail.into(), remedy: None }
    }

    /// Somebody should look at it.
    #[must_use]
    pub fn warning(
        check: impl Into<Word<Check>>,
        subject: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { status: Status::Warning.into(), remedy: Some(remedy.into()), ..Self::ok(check, subject, detail) }
    }

    /// It must be mended.
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
    /// When it was made, by the clock of this process (RFC 3339, UTC).
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub checked_at: Timestamp,
    /// The process, by its binary's name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub service: Cow<'static, str>,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

type Findings = Pin<Box<dyn Future<Output = Vec<Finding>> + Send>>;

/// Examines on request. Cloning shares it.
#[derive(Clone)]
pub struct Doctor(Arc<Inner>);

struct Inner {
    service: &'static str,
    examine: Box<dyn Fn() -> Findings + Send + Sync>,
    last: Mutex<Option<(Instant, Examination)>>,
}

impl Doctor {
    /// A doctor for the process called `service`; `examine` makes all its checks, once.
    pub fn new<F, Fut>(service: &'static str, examine: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<Finding>> + Send + 'static,
    {
        let examine = Box::new(move || Box::pin(examine()) as Findings);
        Self(Arc::new(Inner { service, examine, last: Mutex::new(None) }))
    }

    /// Examines, unless somebody else has done so within the last second. One examination runs at a time:
    /// whoever asks meanwhile waits for it and shares what it finds.
    ///
    /// Cancellation safe: an examination that is dropped is made again for whoever waits.
    pub async fn examination(&self) -> Examination {
        let mut last = self.0.last.lock().await;
        if let Some((at, examination)) = &*last
            && at.elapsed() < PERIOD
        {
            return examination.clone();
        }
        let checked_at = now();
        let findings = timeout(DEADLINE, (self.0.examine)()).await.unwrap_or_else(|_| {
            let detail = format!("not done within {} s", DEADLINE.as_secs());
            let remedy = "something answers so slowly that nothing can be said of it: look at the load of this machine, \
                          of the broker and of the database, and ask again";
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
    async fn a_crowd_that_asks_at_once_shares_one_examination_and_the_next_second_sees_a_new_one() {
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
    fn what_is_well_needs_no_remedy() {
        let well = serde_json::to_value(Finding::ok(Check::DeadLetterExchange, "x", "y")).unwrap();
        let wanted =
            serde_json::json!({"check": "dead_letter_exchange", "subject": "x", "status": "ok", "detail": "y"});
        assert_eq!(well, wanted);
    }
}
