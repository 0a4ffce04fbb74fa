//! Being replaced.

use std::pin::Pin;

use super::{DeadLetters, OrderLists, Reconciliation, Redrives, StoreFault};

/// An answer to come.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send + 'a>>;

/// Everything that can be asked.
pub trait Areas: OrderLists + DeadLetters + Redrives + Reconciliation + Send + Sync + 'static {}
