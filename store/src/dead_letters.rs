//! Dead letters: what was taken from the dead-letter queues, whoever made it, and what became of it.

pub(super) mod ending;
pub(super) mod stored;

use std::sync::Arc;

use common::{
    event::Identity,
    order::OrderId,
    origin::Origin,
    outcome::{Attempt, Reason},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Answer;
pub use common::status::DeadLetterState as State;

/// A dead letter as it was taken from its queue, with what it tells by itself.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Makes it recognisable when it comes again.
    pub fingerprint: [u8; 32],
    /// What it is stored under when that fingerprint is taken, and yet it cannot be the same one.
    pub otherwise: Option<[u8; 32]>,
    /// Which queue it died in.
    pub origin: Origin,
    /// Whose it is, where the body names it.
    pub identity: Option<Identity>,
    /// Why it died, where it tells: otherwise only a report can.
    pub reason: Option<Reason>,
    /// What is wrong with it, where it shows.
    pub error: Option<String>,
    /// When it died, as the broker says.
    pub died_at: Timestamp,
    /// When its idempotency key may first have been used, where no attempt is known.
    pub accepted_at: Option<Timestamp>,
    /// The dead letter that was sent again and became this one.
    pub parent: Option<Uuid>,
    /// Until when a report of it is waited for.
    pub report_by: Timestamp,
    /// Everything that came from the queue.
    pub content: Content,
}

/// Everything that came from the queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// The body, as it was.
    pub body: Vec<u8>,
    /// The headers, without the broker's `x-death`.
    pub headers: Map<String, Value>,
    /// The properties that were set.
    pub properties: Map<String, Value>,
    /// The broker's `x-death`, newest first.
    pub deaths: Vec<Value>,
}

/// What became of a dead letter that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collection {
    /// It is stored now, and the ledger knows of it.
    Stored {
        /// Its id.
        id: Uuid,
        /// Why it died.
        reason: Reason,
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
    /// Its id; ids ascend by the time it was recorded.
    pub id: Uuid,
    /// The order, where the body names one.
    pub order_id: Option<OrderId>,
    /// Which queue it died in.
    pub origin: Origin,
    /// Where it is.
    pub state: State,
    /// Why it died.
    pub reason: Reason,
    /// The last attempt's status, where there was one.
    pub status_code: Option<u16>,
    /// What went wrong last, where it was no status.
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
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// What was noted then.
    pub note: Option<String>,
}

/// A dead letter with everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The dead letter.
    pub letter: DeadLetter,
    /// What came from the queue.
    pub content: Content,
    /// From the first failure to the latest, this one among them.
    pub lineage: Vec<Link>,
}

/// One dead letter of a lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The dead letter.
    pub id: Uuid,
    /// Where it is.
    pub state: State,
    /// Why it died.
    pub reason: Reason,
    /// The last attempt's status, where there was one.
    pub status_code: Option<u16>,
    /// What went wrong last, where it was no status.
    pub error: Option<String>,
    /// When the delivery ended.
    pub failed_at: Timestamp,
}

/// Which dead letters are meant, of those that wait for somebody. What is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Which queue it died in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Origin>,
    /// Why it died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The last attempt's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// A part of the error; ASCII letters match in either case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The order.
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

/// Dead letters with the same destination and cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which queue they died in.
    pub origin: Origin,
    /// Why.
    pub reason: Reason,
    /// The last attempt's status.
    pub status_code: Option<u16>,
    /// What went wrong last.
    pub error: Option<String>,
    /// How many.
    pub count: u64,
    /// The earliest failure.
    pub first_failed_at: Timestamp,
    /// The latest.
    pub last_failed_at: Timestamp,
    /// The one that was recorded last.
    pub sample_id: Uuid,
}

/// What became of a wish to archive, or not to.
#[derive(Clone, Debug, PartialEq)]
pub enum Archiving {
    /// It is so now.
    Done(Box<DeadLetter>),
    /// There is no such dead letter.
    Unknown,
    /// It does not wait for anybody.
    Elsewhere(State),
}

/// What can be asked about dead letters.
pub trait DeadLetters {
    /// Stores dead letters in one transaction, each once, and the end of their deliveries where the
    /// ledger does not know of it. One answer for each, in their order.
    fn collect(&self, letters: Vec<Arc<Collected>>, now: Timestamp) -> Answer<'_, Vec<Collection>>;

    /// Dead letters that wait for somebody, the last recorded first: those before `before`, at most `limit`.
    fn dead_letters(&self, filter: Filter, before: Option<Uuid>, limit: u32) -> Answer<'_, Vec<DeadLetter>>;

    /// The same, counted by destination and cause, in the order of these: those behind the group that
    /// has (or had) the dead letter `after`, at most `limit`.
    fn dead_letter_groups(&self, filter: Filter, after: Option<Uuid>, limit: u32) -> Answer<'_, Vec<Group>>;

    /// One with everything, wherever it is.
    fn dead_letter(&self, id: Uuid) -> Answer<'_, Option<Opened>>;

    /// Sets one aside with a note: it leaves the list, and stays dead.
    fn archive(&self, id: Uuid, note: Option<String>) -> Answer<'_, Archiving>;

    /// Puts one back into the list.
    fn unarchive(&self, id: Uuid) -> Answer<'_, Archiving>;
}
