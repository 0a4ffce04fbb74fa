//! The bodies of the API as the OpenAPI document describes them.
//!
//! What is answered is described by its own type. What is read has hand-made twins here, for the
//! types that read it are the domain's and know nothing of documents; tests hold them together.

use std::collections::BTreeMap;

use common::{
    order::{CorrelationId, OrderId},
    outcome::{Attempt, Reason},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::status::DeliveryView;
use common::status::OrderStatus;
use store::DeadLetter;

/// An order to place.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// Who places it: 1 to 128 characters, no control characters.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$", example = "c-42")]
    pub customer_id: String,
    /// What is ordered: 1 to 1000 items.
    #[schema(min_items = 1, max_items = 1000)]
    pub items: Vec<NewItem>,
}

/// Orders to place together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBatch {
    /// 1 to 500 orders.
    #[schema(min_items = 1, max_items = 500)]
    pub orders: Vec<KeyedOrder>,
}

/// An order to place, with a key of its own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyedOrder {
    /// Makes it safe to send the order again: 1 to 255 visible ASCII characters.
    #[schema(
        required = false,
        nullable = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]*$",
        example = "k-1"
    )]
    pub idempotency_key: Option<String>,
    /// Who places it: 1 to 128 characters, no control characters.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$", example = "c-42")]
    pub customer_id: String,
    /// What is ordered: 1 to 1000 items.
    #[schema(min_items = 1, max_items = 1000)]
    pub items: Vec<NewItem>,
}

/// One line of an order to place.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    /// What: 1 to 128 characters, no control characters.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$", example = "p-7")]
    pub product_id: String,
    /// How many: a whole number, written without fraction or exponent.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    pub qty: u32,
}

/// One line of an order.
#[derive(Debug, ToSchema)]
pub struct Item {
    /// What.
    #[schema(min_length = 1, max_length = 128, example = "p-7")]
    pub product_id: String,
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    pub qty: u32,
}

/// An order that was accepted: it is on disk, and every destination will be told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Accepted)]
pub struct Accepted<'a> {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub order_id: OrderId,
    /// The request that placed it.
    #[schema(value_type = String)]
    pub correlation_id: &'a CorrelationId,
    /// How far it is.
    pub status: OrderStatus,
    /// Each destination's delivery, by the destination's name.
    pub deliveries: &'a BTreeMap<String, DeliveryView>,
}

/// What is noted of a dead letter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Why it needs nobody any more: 1 to 1000 characters.
    #[schema(required = false, min_length = 1, max_length = 1000)]
    pub note: Option<String>,
}

/// A dead letter.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeadLetterItem {
    /// Its id.
    pub id: uuid::Uuid,
    /// The order, where the body names one.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub order_id: Option<OrderId>,
    /// Whose queue it died in.
    pub destination: String,
    /// Why it died.
    pub reason: Reason,
    /// The last attempt's status.
    pub status_code: Option<u16>,
    /// What went wrong last, where it was no status.
    pub error: Option<String>,
    /// When the delivery ended.
    #[schema(value_type = String, format = DateTime)]
    pub failed_at: Timestamp,
    /// Every attempt so far, oldest first.
    pub attempts: Vec<Attempt>,
    /// How many times it was sent again.
    pub redrives: u32,
    /// Whether it is archived.
    pub archived: bool,
}

impl From<DeadLetter> for DeadLetterItem {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id,
            order_id: letter.order_id,
            destination: letter.origin.to_string(),
            reason: letter.reason,
            status_code: letter.status_code,
            error: letter.error,
            failed_at: letter.failed_at,
            attempts: letter.attempts,
            redrives: letter.redrives,
            archived: letter.archived_at.is_some(),
        }
    }
}

/// Which dead letters are meant; all that is given must fit. An empty one matches every dead letter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterFilter {
    /// Whose queue it died in.
    #[schema(required = false, nullable = false)]
    pub destination: Option<String>,
    /// Why it died.
    #[schema(required = false, nullable = false)]
    pub reason: Option<Reason>,
    /// The last attempt's status.
    #[schema(required = false, nullable = false, minimum = 100, maximum = 999)]
    pub status_code: Option<u16>,
    /// A part of the error; ASCII letters match in either case.
    #[schema(required = false, nullable = false, min_length = 1, max_length = 200)]
    pub error: Option<String>,
    /// The order.
    #[schema(required = false, nullable = false)]
    pub order_id: Option<uuid::Uuid>,
    /// Failed at this time or later (RFC 3339).
    #[schema(required = false, nullable = false, value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// Failed before this time (RFC 3339).
    #[schema(required = false, nullable = false, value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    /// Archived ones, instead of those that are not.
    #[schema(required = false, nullable = false, default = false)]
    pub archived: Option<bool>,
}

/// A redrive to begin: exactly one of `filter` and `ids` is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRedrive {
    /// Dead letters that pass this.
    #[schema(required = false, nullable = false)]
    pub filter: Option<DeadLetterFilter>,
    /// These dead letters.
    #[schema(required = false, nullable = false, min_items = 1, max_items = 5000)]
    pub ids: Option<Vec<uuid::Uuid>>,
    /// Tell what would be sent, and send nothing.
    #[schema(required = false, nullable = false, default = false)]
    pub dry_run: Option<bool>,
    /// Dead letters a second.
    #[schema(required = false, nullable = false, minimum = 1, maximum = 5000, default = 50)]
    pub rate: Option<f64>,
    /// Most that are sent and have not ended.
    #[schema(required = false, nullable = false, minimum = 1, maximum = 10000, default = 100)]
    pub concurrency: Option<u32>,
    /// Stop when more than this share of the last 20 that ended failed again; 1 never stops.
    #[schema(required = false, nullable = false, minimum = 0, maximum = 1, default = 0.5)]
    pub stop_after_failed_share: Option<f64>,
    /// Send also what has a key that its destination may have forgotten.
    #[schema(required = false, nullable = false, default = false)]
    pub force: Option<bool>,
    /// An `OrderCreated` event in place of the dead letter's own body, for exactly one dead letter: of the
    /// same order, as an object or as a string that holds one. The dead letter itself stays as it was.
    #[schema(required = false, nullable = false, value_type = Option<Object>)]
    pub body: Option<serde_json::Value>,
    /// Send the edited body under a fresh event id, and so under another key.
    #[schema(required = false, nullable = false, default = false)]
    pub new_key: Option<bool>,
}

/// How a process is.
#[derive(Debug, ToSchema)]
pub struct Health {
    /// The worst of the parts.
    pub status: Readiness,
    /// Each part, by its name.
    pub components: BTreeMap<String, Component>,
}

/// From best to worst.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Readiness {
    /// All is well.
    Ready,
    /// It does its work, and something is down that it makes up for later.
    Degraded,
    /// It cannot do its work.
    NotReady,
}

/// One part of a process.
#[derive(Debug, ToSchema)]
pub struct Component {
    /// Whether it does its work.
    pub status: ComponentStatus,
    /// Why it does not.
    #[schema(required = false, nullable = false)]
    pub reason: Option<String>,
}

/// Whether a part does its work.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ComponentStatus {
    /// It does.
    Up,
    /// It does not.
    Down,
}
