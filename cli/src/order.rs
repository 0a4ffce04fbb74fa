//! `tandem order`: place, get, list and watch orders.

mod place;
mod list;
mod watch;
mod steer;
mod view;

use std::time::Duration;

use clap::Subcommand;
use common::config::positive_duration;

pub(crate) use self::view::attempt;
use self::{list::ListArgs, place::PlaceArgs, steer::SteerArgs};
use crate::{
    client::{Client, Request},
    exit::{Exit, Failure},
    output::Screen,
    results::document,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Place an order; repeated once under the same key if the connection fails
    Place(PlaceArgs),
    /// Show orders with every attempt
    Get {
        /// The order's id
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// List orders, newest first
    List(ListArgs),
    /// Attempt deliveries of an order now, without waiting for their time
    Retry(SteerArgs),
    /// End deliveries of an order that wait for their next attempt, as dead letters
    Cancel(SteerArgs),
    /// Follow an order until every destination has an outcome
    Watch {
        /// The order's id
        id: String,
        /// Stop watching after this time
        #[arg(long, value_name = "TIME", value_parser = positive_duration)]
        wait: Option<Duration>,
    },
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: Command, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    match command {
        Command::Place(arguments) => place::run(arguments, client, screen).await,
        Command::Get { ids } => get(&ids, client, screen).await,
        Command::List(arguments) => list::run(&arguments, client, screen).await,
        Command::Retry(arguments) => steer::run(&arguments, "retry", client, screen).await,
        Command::Cancel(arguments) => steer::run(&arguments, "cancel", client, screen).await,
        Command::Watch { id, wait } => watch::run(&id, wait, client, screen).await,
    }
}

async fn get(ids: &[String], client: &Client, screen: Screen) -> Result<Exit, Failure> {
    for (index, id) in ids.iter().enumerate() {
        let response = client.send(&Request::get(["v1", "orders", id])).await?;
        if index > 0 && !screen.is_json() {
            screen.line("")?;
        }
        document(&response, screen, view::show)?;
    }
    Ok(Exit::Success)
}
