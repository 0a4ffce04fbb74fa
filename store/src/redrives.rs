//! Redrives: dead letters that are sent again, each to the one queue that it died in.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{order::OrderId, origin::Origin};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Answer, DeadLetter, Filter};
pub use common::status::{RedriveStatus, Refusal};

/// Which dead letters are to be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Those that wait and pass it. What is archived is meant only where the filter says so.
    Filter(Filter),
    /// These, archived or not.
    Ids(Vec<Uuid>),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Which dead letters.
    pub selection: Selection,
    /// Each origin that has a queue, and when a key was first used at the latest so that it is
    /// still remembered there.
    pub destinations: BTreeMap<Origin, Option<Timestamp>>,
    /// Whether a key that may have been forgotten is no reason to refuse.
    pub force: bool,
    /// Whether the key will be another one, so that its age does not matter.
    pub new_key: bool,
}

/// How many dead letters are refused for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// How many.
    pub count: u64,
}

/// What a redrive would send.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Exactly how many.
    pub matched: u64,
    /// The first of them.
    pub sample: Vec<DeadLetter>,
    /// How many are not taken, and why.
    pub refused: Vec<Refused>,
}

impl Plan {
    /// Most dead letters of the sample.
    pub const SAMPLE: usize = 10;
}

/// How a redrive works.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Dead letters a second.
    pub rate: f64,
    /// Most that are sent and have not ended.
    pub concurrency: u32,
    /// It stops when more than this share of the last ones failed again.
    pub stop_after_failed_share: f64,
    /// In place of the dead letter's own body.
    pub body: Option<Vec<u8>>,
    /// Whether that body has an event id of its own, and so another key.
    pub new_key: bool,
    /// Makes a repetition of the request recognisable, where the client sent a key.
    pub idempotency: Option<crate::Idempotency>,
}

/// What came of the wish for a redrive.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// It is there, and everything that it sends is fixed.
    New(Box<Redrive>),
    /// The same request has made it before.
    Replayed(Box<Redrive>),
    /// The key stands for another request.
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
    /// Its id.
    pub id: Uuid,
    /// How far it is.
    pub status: RedriveStatus,
    /// Why it stopped.
    pub detail: Option<String>,
    /// What was asked for.
    pub selection: Selection,
    /// How it works.
    pub rate: f64,
    /// Most that are sent and have not ended.
    pub concurrency: u32,
    /// It stops when more than this share of the last ones failed again.
    pub stop_after_failed_share: f64,
    /// Whether the body was edited.
    pub edited: bool,
    /// Whether it goes under another key.
    pub new_key: bool,
    /// How many dead letters it has.
    pub matched: u64,
    /// How many were not taken, and why.
    pub refused: Vec<Refused>,
    /// Where they are.
    pub progress: Progress,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its status changed last.
    pub updated_at: Timestamp,
}

/// What somebody wants of a redrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Send nothing more for now.
    Pause,
    /// Go on.
    Resume,
    /// Send nothing more.
    Cancel,
}

/// What came of that.
#[derive(Clone, Debug, PartialEq)]
pub enum Controlled {
    /// It is so now.
    Done(Box<Redrive>),
    /// There is no such redrive.
    Unknown,
    /// The redrive is in a state that does not allow it.
    NotPossible(RedriveStatus),
}

/// What the runner looks at before each step of a redrive.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The redrive.
    pub id: Uuid,
    /// Dead letters a second.
    pub rate: f64,
    /// Most that are sent and have not ended.
    pub concurrency: u32,
    /// It stops when more than this share of the last ones failed again.
    pub stop_after_failed_share: f64,
    /// Whether something is left to be sent.
    pub queued: bool,
    /// Those that were sent and have not ended.
    pub under_way: u32,
    /// How many of the last [`Standing::LAST`] that ended since the redrive was started or resumed failed again.
    pub failed_of_last: u32,
}

impl Standing {
    /// Over how many the share of failures is taken.
    pub const LAST: u32 = 20;
}

/// A dead letter that is to be published.
#[derive(Clone, Debug)]
pub struct Sending {
    /// The dead letter.
    pub dead_letter: Uuid,
    /// Its order, where it has one.
    pub order_id: Option<OrderId>,
    /// Which queue it goes to, the one it died in.
    pub origin: Origin,
    /// The body: its own, or the one in its place.
    pub body: Bytes,
    /// Its headers.
    pub headers: Map<String, Value>,
    /// Its properties.
    pub properties: Map<String, Value>,
}

/// What can be asked about redrives.
pub trait Redrives {
    /// What a redrive would send, without one.
    fn plan_redrive(&self, wish: Wish) -> Answer<'_, Plan>;

    /// Makes a redrive in one transaction, which is its cut-off: what fails later is not in it.
    fn create_redrive(&self, wish: Wish, terms: Terms) -> Answer<'_, Created>;

    /// A redrive with its progress.
    fn redrive(&self, id: Uuid) -> Answer<'_, Option<Redrive>>;

    /// Redrives, the last created first: those before `before`, at most `limit`.
    fn redrives(&self, before: Option<Uuid>, limit: u32) -> Answer<'_, Vec<Redrive>>;

    /// Pauses, resumes or cancels.
    fn control_redrive(&self, id: Uuid, control: Control) -> Answer<'_, Controlled>;

    /// Every redrive that is running, oldest first.
    fn running_redrives(&self) -> Answer<'_, Vec<Standing>>;

    /// Takes the next dead letters of a running redrive, at most `limit`, fewer of large ones: they count as being
    /// sent, and their deliveries as pending. To be called before they are published.
    fn take_redrive(&self, id: Uuid, limit: u32) -> Answer<'_, Vec<Sending>>;

    /// Those of any redrive that were taken and not confirmed, beyond `after`, in ascending order: `limit` or fewer
    /// where they are large.
    fn unconfirmed_redrives(&self, after: Option<Uuid>, limit: u32) -> Answer<'_, Vec<Sending>>;

    /// The broker has confirmed these.
    fn sent_redrives(&self, dead_letters: Vec<Uuid>) -> Answer<'_, ()>;

    /// A dead letter that is no delivery has ended well: nobody reports it.
    fn delivered_redrive(&self, dead_letter: Uuid) -> Answer<'_, ()>;

    /// Ends a running redrive: `completed` where nothing remains, `stopped` with a detail otherwise. Nothing
    /// happens to one that does not run any more.
    fn end_redrive(&self, id: Uuid, status: RedriveStatus, detail: Option<String>) -> Answer<'_, ()>;
}

impl Control {
    /// The status that it leads to, where it is allowed.
    #[must_use]
    pub fn applied_to(self, status: RedriveStatus) -> Option<RedriveStatus> {
        use RedriveStatus::{Cancelled, Paused, Running, Stopped};
        match (self, status) {
            (Self::Pause, Running) => Some(Paused),
            (Self::Resume, Paused | Stopped) => Some(Running),
            (Self::Cancel, Running | Paused | Stopped) => Some(Cancelled),
            _ => None,
        }
    }
}
