//! One order with its deliveries.

use common::order::OrderId;
use tokio::try_join;

use super::Desk;
use crate::{
    OrderRecord, StoreFault,
    columns::{parse_event, parse_names},
    fault::Fault,
    sql::{Sql, Text, Value},
    unreadable::Unreadable,
};

const ORDER: Text = Text {
    sqlite: "SELECT event, destinations FROM orders WHERE order_id = $1",
    postgres: "SELECT event, array_to_string(destinations, ',') FROM orders WHERE order_id = $1",
};
const DELIVERIES: Text = Text::of("SELECT outcome, status = 'pending' FROM deliveries WHERE order_id = $1");

pub(super) const PREPARED: &[&str] = &[ORDER.postgres, DELIVERIES.postgres];

impl Desk {
    /// An order with its deliveries. One that cannot be read is not known to have ended.
    pub async fn order(&self, order_id: OrderId) -> Result<Option<OrderRecord>, StoreFault> {
        let unreadable = self.unreadable.clone();
        self.orders.read(async move |sql| order(sql, order_id, &unreadable).await).await
    }
}

async fn order(sql: Sql<'_>, order_id: OrderId, unreadable: &Unreadable) -> Result<Option<OrderRecord>, Fault> {
    let id: &[&dyn Value] = &[&order_id.0];
    // The order first: if it is found, so is everything that was recorded before the question.
    let (order, recorded) = try_join!(
        biased;
        sql.first(ORDER, id, |row| Ok((row.get::<Vec<u8>>(0)?, row.get::<String>(1)?))),
        sql.readable(DELIVERIES, id, unreadable, |row| row.delivery(0)),
    )?;
    let Some((event, destinations)) = order else { return Ok(None) };
    Ok(Some(OrderRecord { event: parse_event(&event)?, destinations: parse_names(&destinations)?, recorded }))
}
