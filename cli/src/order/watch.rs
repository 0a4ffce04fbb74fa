//! Following an order live, over lost connections, until it is settled.

use std::time::Duration;

use api::{Order, OrderEvent};
use common::timer;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::view::{self, attempt};
use crate::{
    client::{Client, Request, Response},
    exit::{Exit, Failure, interruptible},
    output::{Paint, Screen, clean, paint_of},
    sse::Event,
};

/// The pause before the first reconnection; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the API may be away before the command gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Follows an order, and shows it when it is settled or `wait` is over.
///
/// # Errors
/// [`Failure`]; unreachable only after a minute without any response.
pub(super) async fn run(id: &str, wait: Option<Duration>, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    let until = wait.map(|wait| Instant::now() + wait);
    let followed = interruptible(async {
        tokio::select! {
            followed = follow(id, client, screen) => followed.map(Some),
            () = timer::at(until) => Ok(None),
        }
    });
    let settled = followed.await?;
    let response = match settled {
        Some(response) => response,
        None => client.send(&Request::get(["v1", "orders", id])).await?,
    };
    let order: Order = response.read()?;
    if !screen.is_json() {
        screen.line("")?;
        view::show(&order, screen)?;
    }
    Ok(view::exit(&order.status))
}

/// Shows events as they come, until the order is settled.
async fn follow(id: &str, client: &Client, screen: Screen) -> Result<Response, Failure> {
    let mut last_id = None;
    let mut pause = FIRST_PAUSE;
    let mut heard = Instant::now();
    loop {
        match client.stream(&["v1", "orders", id, "events"], last_id.as_deref()).await {
            Ok(mut stream) => {
                heard = Instant::now();
                let mut settled = false;
                while let Some(event) = stream.next().await {
                    (heard, pause) = (Instant::now(), FIRST_PAUSE);
                    last_id = event.id.clone().or(last_id);
                    show(&event, screen)?;
                    settled |= event.kind == "settled";
                }
                // A stream that ends may have sent everything before the connection was lost.
                match client.send(&Request::get(["v1", "orders", id])).await {
                    Ok(response) if settled || response.read::<Order>()?.is_settled() => return Ok(response),
                    Ok(_) | Err(Failure::Unreachable { .. }) => {}
                    Err(fault) => return Err(fault),
                }
                screen.say(format_args!("the stream broke off, resuming where it ended"));
            }
            Err(fault) if fault.is_temporary() && heard.elapsed() < PATIENCE => {
                screen.say(format_args!("{}, trying again", fault.first_line()));
            }
            Err(fault) => return Err(fault),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn show(event: &Event, screen: Screen) -> Result<(), Failure> {
    if screen.is_json() {
        let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| event.data.clone().into());
        let line = serde_json::json!({"event": event.kind, "id": event.id, "data": data});
        return Ok(screen.line(line)?);
    }
    Ok(screen.line(line(event, screen))?)
}

fn line(event: &Event, screen: Screen) -> String {
    let data: OrderEvent = serde_json::from_str(&event.data).unwrap_or_default();
    let subject = clean(data.destination.as_deref().unwrap_or("order"));
    let text = match (&data.attempt, &data.delivery, &data.status) {
        (Some(one), _, _) => attempt(one, screen),
        (None, Some(delivery), _) => {
            screen.paint(paint_of(delivery.status.as_str()), &clean(&view::delivery_status(delivery)))
        }
        (None, None, Some(status)) => screen.paint(paint_of(status.as_str()), &clean(&format!("settled: {status}"))),
        (None, None, None) => screen.paint(paint_of(&event.kind), &clean(&event.kind)),
    };
    format!("{}  {text}", screen.paint(Paint::Dim, &format!("{subject:13}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Colour, Format};

    #[test]
    fn an_event_is_shown_in_a_line() {
        let line = |kind: &str, data: &str| {
            let event = Event { kind: kind.to_owned(), id: None, data: data.to_owned() };
            line(&event, Screen::new(Format::Table, Colour::Never))
        };
        let attempt = r#"{"order_id": "1", "correlation_id": "c", "destination": "north", "attempt": {"at": "2026-11-24T06:00:00Z",
                          "duration_ms": 3, "status_code": 503}}"#;
        assert_eq!(line("attempt", attempt), "north          2026-11-24T06:00:00.000Z  503  in 3 ms");
        let dead = r#"{"order_id": "1", "correlation_id": "c", "destination": "north", "delivery": {"status": "dead_lettered",
                        "reason": "rejected", "attempts": [], "settled_at": null}}"#;
        assert_eq!(line("dead_lettered", dead), "north          dead_lettered: rejected");
        let settled = r#"{"order_id": "1", "correlation_id": "c", "status": "delivered", "new": 1}"#;
        assert_eq!(line("settled", settled), "order          settled: delivered");
        assert_eq!(line("news", "no JSON"), "order          news");
    }
}
