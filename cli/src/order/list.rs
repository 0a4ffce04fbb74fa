//! Listing orders, page by page.

use super::{List, Order};
use crate::{
    client::{Client, read},
    ending::{Ending, Failure},
    output::{Cell, Column, Screen, Table},
};

/// Lists them.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(arguments: &List, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let mut query = Vec::new();
    let texts = [
        ("status", &arguments.status),
        ("destination", &arguments.destination),
        ("customer_id", &arguments.customer_id),
    ];
    query.extend(texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    let times = [("from", arguments.from), ("to", arguments.to)];
    query.extend(times.into_iter().filter_map(|(name, value)| Some((name, value?.to_string()))));

    let mut table = Table::new([
        Column::new("ORDER"),
        Column::new("STATUS"),
        Column::squeezed("CUSTOMER"),
        Column::new("PLACED"),
        Column::squeezed("DELIVERIES"),
    ]);
    let mut listed = 0;
    let pages = client.pages(&["v1", "orders"], &query, arguments.extent.limit(), |items| {
        listed += items.len();
        if screen.is_json() {
            return Ok(items.iter().try_for_each(|item| screen.line(item))?);
        }
        let orders: Vec<Order> = items.iter().map(|item| read(item.get())).collect::<Result<_, _>>()?;
        let rows: Vec<_> = orders.iter().map(|order| row(order, screen)).collect();
        Ok(table.rows(screen, &rows)?)
    });
    let more = pages.await?;
    said(screen, listed, more, "order");
    Ok(Ending::Done)
}

fn row(order: &Order, screen: Screen) -> Vec<Cell> {
    // What is as the order's status says needs no second word.
    let others = order.deliveries.iter().filter(|(_, delivery)| delivery.status != order.status);
    let others: Vec<_> = others.map(|(name, delivery)| format!("{name} {}", delivery.words())).collect();
    vec![
        Cell::new(&order.order_id),
        Cell::status(&order.status),
        Cell::new(order.customer_id.as_deref().unwrap_or_default()),
        Cell::dim(order.created_at.map(|at| screen.time(at)).unwrap_or_default()),
        Cell::new(others.join(", ")),
    ]
}

/// What a list does not show.
pub(crate) fn said(screen: Screen, listed: usize, more: bool, noun: &str) {
    if listed == 0 && !screen.is_json() {
        screen.say(format_args!("no {noun}s"));
    } else if more {
        screen.say(format_args!("there are more: --limit N or --all"));
    }
}
