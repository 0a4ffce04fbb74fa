//! What the store is given and what it returns.

mod database;
mod order;
mod outbox;
mod record;
mod wait;
mod order_list;
mod dead_letter;
mod redrive;
mod reconciliation;

pub use database::Database;
pub use dead_letter::{Archiving, Collected, Collection, Content, DeadLetter, DeadLetterDetails, Filter, Group, Link};
pub use order::{Idempotency, NotAccepted, Placed, Receipt};
pub use order_list::{Change, Changed, OrderFilter, OrderPage};
pub(crate) use outbox::StoredOrder;
pub use outbox::{Adopted, Backlog, LaneMark, OutboxEntry, Position};
pub use reconciliation::{Found, Mark, Overdue};
pub use record::{DeliveryRecord, LedgerEntry, Omitted, OrderRecord};
pub use redrive::{
    Control, Controlled, Created, Plan, Progress, Redrive, RedriveItem, RedriveRequest, RedriveTerms, Refused,
    RunningRedrive, Selection,
};
pub use wait::{DueWait, DueWaits, Steered};
