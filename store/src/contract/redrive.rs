//! Redrives: dead letters that are sent again, each to the one queue that it died in.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{
    order::OrderId,
    origin::Origin,
    status::{RedriveStatus, Refusal},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{DeadLetter, Filter, Idempotency};

/// Which dead letters are sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Those that match. Archived ones only if the filter asks for them.
    Filter(Filter),
    /// These, archived or not.
    Ids(Vec<Uuid>),
}

/// What a redrive is to send.
#[derive(Clone, Debug)]
pub struct RedriveRequest {
    pub selection: Selection,
    /// Each origin that has a queue. A destination remembers a key that was first used at this time or later;
    /// `None` if it never forgets.
    pub origins: BTreeMap<Origin, Option<Timestamp>>,
    /// Whether a key that may have been forgotten is no reason to refuse.
    pub force: bool,
    /// Whether the key will be a new one, so that its age does not matter.
    pub new_key: bool,
}

/// How many dead letters are refused for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub reason: Refusal,
    pub count: u64,
}

/// What a redrive would send.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Exactly how many.
    pub matched: u64,
    /// The first of them, at most [`Plan::SAMPLE`].
    pub sample: Vec<DeadLetter>,
    /// How many are not taken, and why.
    pub refused: Vec<Refused>,
}

impl Plan {
    pub const SAMPLE: usize = 10;
}

/// How a redrive works.
#[derive(Clone, Debug, PartialEq)]
pub struct RedriveTerms {
    /// Dead letters per second.
    pub rate: f64,
    /// At most this many that were sent and have not ended.
    pub concurrency: u32,
    /// It stops when more than this share of the last ones failed again.
    pub stop_after_failed_share: f64,
    /// Replaces the dead letter's own body.
    pub body: Option<Vec<u8>>,
    /// Whether that body has a new event id, and so a new key.
    pub new_key: bool,
    /// What identifies a repetition of the request, if the client sent a key.
    pub idempotency: Option<Idempotency>,
}

/// What came of the request for a redrive.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// It exists, and everything that it sends is fixed.
    New(Box<Redrive>),
    /// The same request has made it before.
    Replayed(Box<Redrive>),
    /// The key was used for another request.
    KeyReused,
    /// There is nothing to send, and why.
    Nothing(Vec<Refused>),
}

/// How many dead letters of a redrive are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Not sent yet.
    pub queued: u64,
    /// Being published: the broker has not confirmed them.
    pub sending: u64,
    /// With the broker or the destination.
    pub sent: u64,
    /// Accepted by the destination.
    pub delivered: u64,
    /// Dead again.
    pub dead_lettered: u64,
    /// Never sent, because the redrive was cancelled.
    pub cancelled: u64,
}

impl Progress {
    /// Those that were sent and have not ended.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.sending + self.sent
    }
}

/// A redrive.
#[derive(Clone, Debug, PartialEq)]
pub struct Redrive {
    pub id: Uuid,
    pub status: RedriveStatus,
    /// Why it stopped.
    pub detail: Option<String>,
    pub selection: Selection,
    /// Dead letters per second.
    pub rate: f64,
    /// At most this many that were sent and have not ended.
    pub concurrency: u32,
    /// It stops when more than this share of the last ones failed again.
    pub stop_after_failed_share: f64,
    /// Whether the body was edited.
    pub edited: bool,
    /// Whether it goes under a new key.
    pub new_key: bool,
    /// How many dead letters it has.
    pub matched: u64,
    /// How many were not taken, and why.
    pub refused: Vec<Refused>,
    pub progress: Progress,
    pub created_at: Timestamp,
    /// When its status changed last.
    pub updated_at: Timestamp,
}

/// What an operator does to a redrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Send nothing more for now.
    Pause,
    /// Continue.
    Resume,
    /// Send nothing more.
    Cancel,
}

/// What came of that.
#[derive(Clone, Debug, PartialEq)]
pub enum Controlled {
    /// It is done.
    Done(Box<Redrive>),
    /// There is no such redrive.
    Unknown,
    /// The redrive has a status that does not allow it.
    NotPossible(RedriveStatus),
}

/// What the runner checks before each step of a redrive.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningRedrive {
    pub id: Uuid,
    /// Dead letters per second.
    pub rate: f64,
    /// At most this many that were sent and have not ended.
    pub concurrency: u32,
    /// It stops when more than this share of the last ones failed again.
    pub stop_after_failed_share: f64,
    /// Whether anything is left to be sent.
    pub queued: bool,
    /// Those that were sent and have not ended.
    pub under_way: u32,
    /// How many of the last [`RunningRedrive::LAST`] that ended since the redrive was started or resumed failed
    /// again.
    pub failed_of_last: u32,
}

impl RunningRedrive {
    /// The share of failures is taken over this many.
    pub const LAST: u32 = 20;
}

/// A dead letter that is to be published.
#[derive(Clone, Debug)]
pub struct RedriveItem {
    pub dead_letter: Uuid,
    /// The order that it names, if it does.
    pub order_id: Option<OrderId>,
    /// Which queue it goes to: the one that it died in.
    pub origin: Origin,
    /// Its own body, or the one that replaces it.
    pub body: Bytes,
    pub headers: Map<String, Value>,
    pub properties: Map<String, Value>,
}
