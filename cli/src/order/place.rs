//! Placing an order, under an idempotency key, so that it is safe to send it again.

use std::time::Duration;

use api::{Accepted, NewItem, NewOrder, Order};
use clap::Args;
use common::config::positive_duration;
use reqwest::StatusCode;
use uuid::Uuid;

use super::view;
use crate::{
    client::{Client, Request, to_json},
    exit::{Exit, Failure},
    flags::file,
    output::Screen,
    results::document,
};

#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The customer who places it
    #[arg(long, value_name = "ID", required_unless_present = "file", conflicts_with = "file", requires = "item")]
    customer_id: Option<String>,
    /// A product and its quantity; repeat for each item
    #[arg(long, value_name = "SKU=QTY", value_parser = item, conflicts_with = "file", requires = "customer_id")]
    item: Vec<NewItem>,
    /// Read the order as JSON from a file, or from standard input (-)
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Makes it safe to place the order again; generated if absent
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait this long for the outcome at every destination
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    wait: Option<Duration>,
}

fn item(text: &str) -> Result<NewItem, String> {
    // A product's id may contain the sign, too.
    let (product_id, qty) = text.rsplit_once('=').ok_or("must be a product and a number, such as SKU-1=2")?;
    let qty = qty.parse().map_err(|_| format!("{qty:?} is not a whole number"))?;
    Ok(NewItem { product_id: product_id.to_owned(), qty })
}

/// Places it, and shows it.
///
/// # Errors
/// [`Failure`]; if the API could not be reached, its text names the key.
pub(super) async fn run(arguments: PlaceArgs, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    let PlaceArgs { customer_id, item, file: name, idempotency_key, wait } = arguments;
    let body = match name {
        Some(name) => file(&name)?,
        None => to_json(&NewOrder { customer_id: customer_id.unwrap_or_default(), items: item })?,
    };
    let key = idempotency_key.unwrap_or_else(|| Uuid::new_v4().to_string());
    let mut request = Request::post(["v1", "orders"], body).header("idempotency-key", &key);
    if let Some(wait) = wait {
        let seconds = wait.as_millis().div_ceil(1_000);
        request = request.header("prefer", format!("wait={seconds}")).extra_time(wait);
    }
    let response = client.send_twice(&request, screen).await.map_err(|fault| with_key(fault, &key))?;
    if !screen.is_json() && response.headers.get("idempotency-replayed").is_some_and(|value| value == "true") {
        screen.say("this key was used before: this is the order that was placed then");
    }
    let status = if response.status == StatusCode::ACCEPTED {
        document(&response, screen, view::show_accepted)?;
        response.read::<Accepted>()?.status
    } else {
        document(&response, screen, view::show)?;
        response.read::<Order>()?.status
    };
    Ok(if wait.is_some() { view::exit(&status) } else { Exit::Success })
}

/// A retry by hand must use the same key: the order may have been placed.
fn with_key(fault: Failure, key: &str) -> Failure {
    match fault {
        Failure::Unreachable { server, cause } => {
            let cause = format!(
                "{cause}\n  The order may have been placed. It is safe to send it again with --idempotency-key {key}"
            );
            Failure::Unreachable { server, cause }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_a_product_and_a_number() {
        assert_eq!(item("SKU-1=2"), Ok(NewItem { product_id: "SKU-1".to_owned(), qty: 2 }));
        assert_eq!(item("a=b=3"), Ok(NewItem { product_id: "a=b".to_owned(), qty: 3 }));
        for bad in ["SKU", "SKU=", "SKU=-1", "SKU=1.5"] {
            assert!(item(bad).is_err(), "{bad}");
        }
    }
}
