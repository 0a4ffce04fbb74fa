//! `tandem order`: place, look, list, watch.

mod list;
mod place;
mod view;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};
use common::config::positive_duration;
use jiff::Timestamp;

use crate::{
    args::instant,
    client::{Client, Request},
    ending::{Ending, Failure},
    output::Screen,
};

pub(crate) use self::{
    list::said,
    place::read,
    view::{Order, attempt},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Place an order; sent once more under the same key if the connection fails
    Place(Place),
    /// Show orders with every attempt
    Get {
        /// The order's id
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// List orders, newest first as the API has them
    List(List),
    /// Follow an order until every destination has an outcome
    Watch {
        /// The order's id
        id: String,
        /// Stop watching after this long
        #[arg(long, value_name = "TIME", value_parser = positive_duration)]
        wait: Option<Duration>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Who places it
    #[arg(long, value_name = "ID", required_unless_present = "file", conflicts_with = "file", requires = "item")]
    customer_id: Option<String>,
    /// A product and how many; again for each item
    #[arg(long, value_name = "SKU=QTY", value_parser = item, conflicts_with = "file", requires = "customer_id")]
    item: Vec<(String, u32)>,
    /// The order as JSON, from a file or (-) standard input
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Makes it safe to place the order again; made if absent
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait this long for every destination's outcome
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only with this status
    #[arg(long, value_parser = ["pending", "delivered", "partially_delivered", "dead_lettered"])]
    status: Option<String>,
    /// Only for this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only of this customer
    #[arg(long, value_name = "ID")]
    customer_id: Option<String>,
    /// Placed at this time or later; 2h is two hours ago
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Placed before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    #[command(flatten)]
    extent: Extent,
}

/// How much of a list.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Extent {
    /// Most items
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..),
          conflicts_with = "all")]
    limit: u64,
    /// Every item, as they come
    #[arg(long)]
    all: bool,
}

impl Extent {
    /// Most items, if not all.
    pub(crate) fn limit(self) -> Option<u64> {
        (!self.all).then_some(self.limit)
    }
}

fn item(text: &str) -> Result<(String, u32), String> {
    // A product's id may hold the sign itself.
    let (product, qty) = text.rsplit_once('=').ok_or("must be a product and a number, such as SKU-1=2")?;
    let qty = qty.parse().map_err(|_| format!("{qty:?} is no whole number"))?;
    Ok((product.to_owned(), qty))
}

/// Does what the command says.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: Command, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    match command {
        Command::Place(arguments) => place::run(arguments, client, screen).await,
        Command::Get { ids } => get(&ids, client, screen).await,
        Command::List(arguments) => list::run(&arguments, client, screen).await,
        Command::Watch { id, wait } => watch::run(&id, wait, client, screen).await,
    }
}

async fn get(ids: &[String], client: &Client, screen: Screen) -> Result<Ending, Failure> {
    for (index, id) in ids.iter().enumerate() {
        let answer = client.ask(&Request::get(["v1", "orders", id])).await?;
        if screen.is_json() {
            screen.line(answer.body.trim())?;
            continue;
        }
        if index > 0 {
            screen.line("")?;
        }
        view::show(&answer.read()?, screen)?;
    }
    Ok(Ending::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_a_product_and_a_number() {
        assert_eq!(item("SKU-1=2"), Ok(("SKU-1".to_owned(), 2)));
        assert_eq!(item("a=b=3"), Ok(("a=b".to_owned(), 3)));
        for bad in ["SKU", "SKU=", "SKU=-1", "SKU=1.5"] {
            assert!(item(bad).is_err(), "{bad}");
        }
    }
}
