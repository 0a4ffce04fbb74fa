//! The desk: what operators and clients ask of the store, beside the way of an order. Lists, dead
//! letters, redrives and upkeep; each area has a trait of its own, and a desk answers them all.
//!
//! Which database is behind it is known only at run time, and none of it is on the way of an order:
//! so it is a trait object.

use std::pin::Pin;

use super::{DeadLetters, OrderLists, Reconciliation, Redrives, StoreFault, Upkeep};

/// An answer to come. Cancellation safe in this sense: what was asked is done or not done, whole, also
/// when nobody waits any more.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send + 'a>>;

/// Everything that can be asked.
pub trait Desk: OrderLists + DeadLetters + Redrives + Reconciliation + Upkeep + Send + Sync + 'static {}
