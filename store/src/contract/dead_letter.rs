//! Dead letters: what was taken from the dead-letter queues, regardless of who put it there, and what became of it.

use common::{
    event::Identity,
    order::OrderId,
    origin::Origin,
    outcome::{Attempt, Reason},
    status::DeadLetterState,
    word::Word,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A dead letter as it was taken from its queue, with what it says by itself.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Identifies it when it comes again.
    pub fingerprint: [u8; 32],
    /// What it is stored under if that fingerprint is taken, and yet it cannot be the same one.
    pub otherwise: Option<[u8; 32]>,
    /// Which queue it died in.
    pub origin: Origin,
    /// The event and order that the body names, if it does.
    pub identity: Option<Identity>,
    /// Why it died, if it says so; otherwise only a report can.
    pub reason: Option<Reason>,
    /// What is wrong with it, if that shows.
    pub error: Option<String>,
    /// When it died, according to the broker.
    pub died_at: Timestamp,
    /// When its idempotency key may first have been used, if no attempt is known.
    pub accepted_at: Option<Timestamp>,
    /// The dead letter that was sent again and became this one.
    pub parent: Option<Uuid>,
    /// Until when a report of it is waited for.
    pub report_by: Timestamp,
    pub content: Content,
}

/// Everything that came from the queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// The body, unchanged.
    pub body: Vec<u8>,
    /// The headers, without the broker's `x-death`.
    pub headers: Map<String, Value>,
    /// The properties that were set.
    pub properties: Map<String, Value>,
    /// The broker's `x-death`, newest first.
    pub deaths: Vec<Value>,
}

/// What became of a dead letter that was collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collection {
    /// It is stored now, and the ledger has the end of its delivery.
    Stored {
        id: Uuid,
        reason: Word<Reason>,
        /// Whether its order changed with it.
        changed: bool,
    },
    /// It was stored before.
    Known,
    /// Nothing is stored: its report is not here yet, and may still come.
    Waiting,
}

/// A dead letter, without its content.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Ids ascend by the time at which dead letters were stored.
    pub id: Uuid,
    /// The order that the body names, if it does.
    pub order_id: Option<OrderId>,
    /// Which queue it died in.
    pub origin: Origin,
    pub state: DeadLetterState,
    pub reason: Word<Reason>,
    /// The status of the last attempt, if it had one.
    pub status_code: Option<u16>,
    /// The error of the last attempt, if it had no status.
    pub error: Option<String>,
    /// When the delivery ended.
    pub failed_at: Timestamp,
    /// When its idempotency key was first used, or may have been.
    pub key_used_at: Option<Timestamp>,
    /// Every attempt of the delivery so far, oldest first.
    pub attempts: Vec<Attempt>,
    /// The dead letter that was sent again and became this one.
    pub parent: Option<Uuid>,
    /// How many times it was sent again, over the whole lineage.
    pub redrives: u32,
    pub archived_at: Option<Timestamp>,
    /// The archiving operator's note.
    pub note: Option<String>,
}

/// A dead letter with everything.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetterDetails {
    pub letter: DeadLetter,
    pub content: Content,
    /// From the first failure to the latest, including this one.
    pub lineage: Vec<Link>,
}

/// One dead letter of a lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: Uuid,
    pub state: DeadLetterState,
    pub reason: Word<Reason>,
    /// The status of the last attempt, if it had one.
    pub status_code: Option<u16>,
    /// The error of the last attempt, if it had no status.
    pub error: Option<String>,
    /// When the delivery ended.
    pub failed_at: Timestamp,
}

/// Which dead letters are listed, of those that are dead. All that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Which queue it died in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word<Reason>>,
    /// The status of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// A part of the error; ASCII letters match in either case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// Failed at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Failed before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Archived ones, instead of those that are not.
    pub archived: bool,
}

/// Dead letters with the same origin and cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which queue they died in.
    pub origin: Origin,
    pub reason: Word<Reason>,
    /// The status of the last attempt.
    pub status_code: Option<u16>,
    /// The error of the last attempt.
    pub error: Option<String>,
    /// What the last attempt was answered, as far as it tells one cause from another.
    pub answer: Option<String>,
    pub count: u64,
    pub first_failed_at: Timestamp,
    pub last_failed_at: Timestamp,
    /// The one that was stored last.
    pub sample_id: Uuid,
}

/// What came of a request to archive a dead letter, or to put it back.
#[derive(Clone, Debug, PartialEq)]
pub enum Archiving {
    /// It is done.
    Done(Box<DeadLetter>),
    /// There is no such dead letter.
    Unknown,
    /// It is not dead.
    Elsewhere(DeadLetterState),
}
