//! The numbers that are given: the positions of orders, and the changes of the ledger.

use rusqlite::{Connection, params};

use crate::{Batch, StoreFault, columns::signed};

/// The numbers that one transaction gives.
pub(super) struct Numbers {
    position: i64,
    change: i64,
}

impl Numbers {
    /// Sets aside as many as the batch can need, and notes how far the outbox is published.
    pub(super) fn take(connection: &Connection, batch: &Batch) -> Result<Self, StoreFault> {
        let changes = batch.outcomes.len() + batch.progress.len();
        Self::reserve(connection, batch.orders.len(), changes, batch.published_up_to.map_or(0, signed))
    }

    pub(super) fn reserve(
        connection: &Connection,
        positions: usize,
        changes: usize,
        published_up_to: i64,
    ) -> Result<Self, StoreFault> {
        let [positions, changes] = [positions, changes].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let (last_position, last_change): (i64, i64) = connection
            .prepare_cached(
                "UPDATE line SET last_place = last_place + ?1, last_change = last_change + ?2,
                 published_up_to = max(published_up_to, ?3) RETURNING last_place, last_change",
            )?
            .query_row(params![positions, changes, published_up_to], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self { position: last_position - positions, change: last_change - changes })
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
