//! What is pending, and since when.

use common::destination::Name;
use jiff::Timestamp;

use super::Desk;
use crate::{
    StoreFault,
    sql::{Sql, Text},
};

/// Ids sort by time, so that the first order along the table is the oldest. A dead letter that is sent again is as
/// old as its order, and says nothing of how far its destination is behind.
const OLDEST: Text = Text {
    sqlite: "
    SELECT created_at FROM orders WHERE order_id = (
        SELECT order_id FROM pending
        WHERE instr(',' || open || ',', ',' || $1 || ',') > 0
            AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.order_id = pending.order_id
                AND destination = $1 AND dead_letter IS NOT NULL)
        ORDER BY order_id LIMIT 1)",
    postgres: "
    SELECT created_at FROM orders WHERE order_id = (
        SELECT order_id FROM pending
        WHERE $1 = ANY(open)
            AND NOT EXISTS (SELECT FROM deliveries WHERE deliveries.order_id = pending.order_id
                AND destination = $1 AND dead_letter IS NOT NULL)
        ORDER BY order_id LIMIT 1)",
};

const WAITING: Text = Text::of("SELECT count(*) FROM waiting WHERE destination = $1 AND released_at IS NULL");

impl Desk {
    /// How many deliveries to this destination wait in the store for their next attempt.
    pub async fn waiting(&self, destination: Name) -> Result<u64, StoreFault> {
        let read = async move |sql: Sql<'_>| sql.first(WAITING, &[&destination.as_str()], |row| row.count(0)).await;
        Ok(self.operators.read(read).await?.unwrap_or(0))
    }

    /// When the oldest order was accepted whose delivery to this destination is pending, and is not of a dead letter
    /// that is sent again.
    pub async fn oldest_pending(&self, destination: Name) -> Result<Option<Timestamp>, StoreFault> {
        let read = async move |sql: Sql<'_>| sql.first(OLDEST, &[&destination.as_str()], |row| row.time(0)).await;
        self.operators.read(read).await
    }
}
