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

use crate::{
    status::{DeliveryView, OrderStatus},
    store::DeadLetter,
};

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
            destination: letter.destination,
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
