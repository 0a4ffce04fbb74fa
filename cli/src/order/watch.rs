//! Following an order live, over lost connections, until it is settled.

use std::time::Duration;

use common::{outcome::Attempt, timer};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::view::{self, Delivery, Order, attempt};
use crate::{
    client::{Answer, Client, Request},
    ending::{Ending, Failure, interruptible},
    output::{Paint, Screen, clean, paint_of},
    sse::Event,
};

/// The pause before the first reconnection; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// An API that is away for this long is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an event says, as far as it is shown. It may have more.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    destination: Option<String>,
    /// Of an attempt.
    attempt: Option<Attempt>,
    /// Of a delivery that has ended.
    delivery: Option<Delivery>,
    /// Of an order that is settled.
    status: Option<String>,
}

/// Follows it, and says how it ended.
///
/// # Errors
/// [`Failure`]; unreachable only after a minute without any answer.
pub(super) async fn run(id: &str, wait: Option<Duration>, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let until = wait.map(|wait| Instant::now() + wait);
    let followed = interruptible(async {
        tokio::select! {
            followed = follow(id, client, screen) => followed.map(Some),
            () = timer::at(until) => Ok(None),
        }
    });
    let settled = followed.await?;
    let answer = match settled {
        Some(answer) => answer,
        None => client.ask(&Request::get(["v1", "orders", id])).await?,
    };
    let order: Order = answer.read()?;
    if !screen.is_json() {
        screen.line("")?;
        view::show(&order, screen)?;
    }
    Ok(order.ending())
}

/// Shows events as they come, until the order is settled.
async fn follow(id: &str, client: &Client, screen: Screen) -> Result<Answer, Failure> {
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
                // A stream that just ends may have said all before it was opened again.
                let asked = client.ask(&Request::get(["v1", "orders", id])).await;
                match asked {
                    Ok(answer) if settled || !answer.read::<Order>()?.is_pending() => return Ok(answer),
                    Ok(_) | Err(Failure::Unreachable { .. }) => {}
                    Err(fault) => return Err(fault),
                }
                screen.say(format_args!("the stream broke off, going on where it ended"));
            }
            Err(Failure::Refused(problem)) if problem.status < 500 && problem.status != 429 => {
                return Err(Failure::Refused(problem));
            }
            Err(fault) if heard.elapsed() >= PATIENCE => return Err(fault),
            Err(fault @ (Failure::Unreachable { .. } | Failure::Refused(_))) => {
                screen.say(format_args!("{}, trying again", fault.to_string().lines().next().unwrap_or_default()));
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
    let said: Said = serde_json::from_str(&event.data).unwrap_or_default();
    let who = clean(said.destination.as_deref().unwrap_or("order"));
    let what = match (&said.attempt, &said.delivery, &said.status) {
        (Some(one), _, _) => attempt(one, screen),
        (None, Some(delivery), _) => screen.paint(paint_of(&delivery.status), &clean(&delivery.words())),
        (None, None, Some(status)) => screen.paint(paint_of(status), &clean(&format!("settled: {status}"))),
        (None, None, None) => screen.paint(paint_of(&event.kind), &clean(&event.kind)),
    };
    format!("{}  {what}", screen.paint(Paint::Dim, &format!("{who:13}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Colour, Format};

    #[test]
    fn an_event_is_told_in_a_line_whatever_else_is_in_it() {
        let line = |kind: &str, data: &str| {
            let event = Event { kind: kind.to_owned(), id: None, data: data.to_owned() };
            line(&event, Screen::new(Format::Table, Colour::Never))
        };
        let attempt = r#"{"order_id": "1", "destination": "north", "attempt": {"at": "2026-11-24T06:00:00Z",
                          "duration_ms": 3, "status_code": 503}}"#;
        assert_eq!(line("attempt", attempt), "north          2026-11-24T06:00:00.000Z  503  in 3 ms");
        let dead = r#"{"destination": "north", "delivery": {"status": "dead_lettered", "reason": "rejected"}}"#;
        assert_eq!(line("dead_lettered", dead), "north          dead_lettered: rejected");
        assert_eq!(line("settled", r#"{"status": "delivered", "new": 1}"#), "order          settled: delivered");
        assert_eq!(line("news", "no JSON"), "order          news");
    }
}
