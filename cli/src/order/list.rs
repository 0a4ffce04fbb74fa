//! Listing orders.

use api::{Order, OrderStatus};
use clap::{Args, builder::PossibleValuesParser};
use jiff::Timestamp;

use super::view;
use crate::{
    client::Client,
    exit::{Exit, Failure},
    flags::{LimitArgs, time},
    output::{Cell, Column, Screen},
    results::List,
};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Orders with this status
    #[arg(long, value_parser = PossibleValuesParser::new(OrderStatus::ALL.map(OrderStatus::as_str)))]
    status: Option<String>,
    /// Orders for this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Orders of this customer
    #[arg(long, value_name = "ID")]
    customer_id: Option<String>,
    /// Placed at or after this time; 2h means two hours ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Placed before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    #[command(flatten)]
    limit: LimitArgs,
}

const COLUMNS: [Column; 5] = [
    Column::new("ORDER"),
    Column::new("STATUS"),
    Column::squeezed("CUSTOMER"),
    Column::new("PLACED"),
    Column::squeezed("DELIVERIES"),
];

/// Lists them.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(arguments: &ListArgs, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    let ListArgs { status, destination, customer_id, from, to, limit } = arguments;
    let parameters = [
        ("status", status.clone()),
        ("destination", destination.clone()),
        ("customer_id", customer_id.clone()),
        ("from", from.map(|time| time.to_string())),
        ("to", to.map(|time| time.to_string())),
    ];
    let query: Vec<_> = parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let orders = List { path: &["v1", "orders"], query: &query, noun: "order", columns: &COLUMNS, row };
    orders.print(*limit, client, screen).await
}

fn row(order: &Order, screen: Screen) -> Vec<Cell> {
    // Only the deliveries whose status differs from that of the order.
    let others = order.deliveries.iter().filter(|(_, delivery)| delivery.status.as_str() != order.status.as_str());
    let others: Vec<_> = others.map(|(name, delivery)| format!("{name} {}", view::delivery_status(delivery))).collect();
    vec![
        Cell::new(&order.order_id),
        Cell::status(order.status.as_str()),
        Cell::new(&order.customer_id),
        Cell::dim(screen.time(order.created_at)),
        Cell::new(others.join(", ")),
    ]
}
