//! `tandem order retry` and `tandem order cancel`: the end of a wait.

use api::{Order, Steered};
use clap::Args;

use crate::{
    client::{Client, Request},
    exit::{Exit, Failure},
    output::{Screen, clean},
    results::document,
};

#[derive(Debug, Args)]
pub(crate) struct SteerArgs {
    /// The order's id
    id: String,
    /// The delivery to this destination only, instead of all that wait
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
}

/// Does it to one delivery after the other.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(arguments: &SteerArgs, verb: &str, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    let SteerArgs { id, destination } = arguments;
    let destinations = match destination {
        Some(destination) => vec![destination.clone()],
        None => waiting(id, client).await?,
    };
    for destination in &destinations {
        let request = Request::post(["v1", "orders", id, "deliveries", destination, verb], "{}".to_owned());
        document(&client.send(&request).await?, screen, |steered: &Steered, screen| {
            screen.field(&clean(&steered.destination), clean(&steered.detail))
        })?;
    }
    Ok(Exit::Success)
}

/// The destinations whose deliveries wait.
async fn waiting(id: &str, client: &Client) -> Result<Vec<String>, Failure> {
    let order: Order = client.send(&Request::get(["v1", "orders", id])).await?.read()?;
    let waiting = order.deliveries.into_iter().filter(|(_, delivery)| delivery.next_attempt_at.is_some());
    let waiting: Vec<_> = waiting.map(|(destination, _)| destination).collect();
    if waiting.is_empty() {
        return Err(Failure::Other("no delivery of the order waits for its next attempt".to_owned()));
    }
    Ok(waiting)
}
