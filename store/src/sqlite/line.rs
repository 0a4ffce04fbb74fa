//! The numbers that are given out: the places of orders, and the changes of the ledger.

use rusqlite::{Transaction, params};

use crate::{Batch, StoreFault, columns::signed};

/// The numbers that one transaction gives out.
pub(super) struct Numbers {
    position: i64,
    change: i64,
}

impl Numbers {
    /// Sets aside as many as the batch can need, and notes how far the outbox is published.
    pub(super) fn take(transaction: &Transaction<'_>, batch: &Batch) -> Result<Self, StoreFault> {
        Self::reserve(transaction, batch.orders.len(), batch.outcomes.len(), batch.published_up_to.map_or(0, signed))
    }

    pub(super) fn reserve(
        transaction: &Transaction<'_>,
        places: usize,
        changes: usize,
        published_up_to: i64,
    ) -> Result<Self, StoreFault> {
        let [places, changes] = [places, changes].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let (last_place, last_change): (i64, i64) = transaction
            .prepare_cached(
                "UPDATE line SET last_place = last_place + ?1, last_change = last_change + ?2,
                 published_up_to = max(published_up_to, ?3) RETURNING last_place, last_change",
            )?
            .query_row(params![places, changes, published_up_to], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self { position: last_place - places, change: last_change - changes })
    }

    pub(super) fn next_position(&mut self) -> i64 {
        self.position += 1;
        self.position
    }

    pub(super) fn next_change(&mut self) -> i64 {
        self.change += 1;
        self.change
    }
}
