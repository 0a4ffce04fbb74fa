//! Placing an order, under a key of its own, so that sending it once more is safe.

use std::{fs, io::Read as _};

use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::{Place, view};
use crate::{
    client::{Client, Request},
    ending::{Ending, Failure},
    output::Screen,
};

/// Places it, and says how it is.
///
/// # Errors
/// [`Failure`]; when the API could not be reached, its text names the key.
pub(super) async fn run(arguments: Place, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let Place { customer_id, item, file, idempotency_key, wait } = arguments;
    let body = match file {
        Some(file) => read(&file)?,
        None => {
            let items: Vec<_> =
                item.iter().map(|(product_id, qty)| json!({"product_id": product_id, "qty": qty})).collect();
            json!({"customer_id": customer_id, "items": items}).to_string()
        }
    };
    let key = idempotency_key.unwrap_or_else(|| Uuid::new_v4().to_string());
    let mut request = Request::post(["v1", "orders"], body).header("idempotency-key", &key);
    if let Some(wait) = wait {
        let seconds = wait.as_millis().div_ceil(1_000);
        request = request.header("prefer", format!("wait={seconds}")).patience(wait);
    }
    let answer = match client.ask(&request).await {
        Err(Failure::Unreachable { cause, .. }) => {
            screen.say(format_args!("{} does not answer ({cause}); sending once more", client.server()));
            client.ask(&request).await.map_err(|fault| with_key(fault, &key))?
        }
        answered => answered?,
    };
    let order: view::Order = answer.read()?;
    if screen.is_json() {
        screen.line(answer.body.trim())?;
    } else {
        if answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true") {
            screen.say("this key was used before: this is the order that was placed then");
        }
        view::show(&order, screen)?;
    }
    Ok(match (wait, answer.status) {
        (None, _) => Ending::Done,
        (Some(_), StatusCode::ACCEPTED) if order.is_pending() => Ending::Pending,
        (Some(_), _) => order.ending(),
    })
}

/// Whoever tries again by hand must use the same key: the order may have been placed.
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

/// The text of a file, or of standard input.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    read.map_err(|fault| {
        Failure::Usage(format!("cannot read {}: {fault}", if file == "-" { "standard input" } else { file }))
    })
}
