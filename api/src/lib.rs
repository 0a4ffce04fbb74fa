//! The HTTP API as it is on the wire: what the producer and its clients exchange.
//!
//! In the order of the flow: a [`NewOrder`] is placed and [`Accepted`], alone or in a batch, or refused with a
//! [`Problem`]; the [`Order`] is shown, listed in a [`List`] and followed as [`OrderEvent`]s, and its
//! deliveries are [`Steered`]. What could not be
//! delivered is a [`DeadLetter`], which a [`Redrive`] sends again. [`Reconciliation`] lists what got stuck. How a
//! process examines itself is in [`common::doctor`] and [`common::health`], because workers do so too.
//!
//! Readers are tolerant: they ignore members that they do not know, and a [`Word`] keeps the text of a value that is
//! not yet in their list. Ids are opaque to clients, so they are strings here.
//!
//! With the feature `openapi` each type has its schema.

mod new_order;
mod placed;
mod problem;
mod order;
mod list;
mod event;
mod dead_letter;
mod redrive;
mod reconciliation;
mod steered;

pub use common::{
    outcome::{Attempt, Reason},
    status::{DeadLetterState, DeliveryStatus, OrderStatus, RedriveStatus, Refusal},
    word::Word,
};

pub use dead_letter::{BodyEncoding, DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetterItem, Link, Note};
pub use event::OrderEvent;
pub use list::List;
pub use new_order::{KeyedOrder, NewBatch, NewItem, NewOrder};
pub use order::{Delivery, Item, Order};
pub use placed::{Accepted, BatchResult, ItemResult};
pub use problem::{Fault, Problem};
pub use reconciliation::{OverdueDelivery, Reconciliation, Seen};
pub use redrive::{NewRedrive, Plan, Redrive, Refused};
pub use steered::Steered;
