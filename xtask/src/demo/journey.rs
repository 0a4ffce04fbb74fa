//! The journey of one order, told live by those who see it: the client, the processes' logs, the APIs that are called.

use std::{collections::HashSet, time::Duration};

use ::tests::{
    fake_api::{Call, Ended},
    log::Line,
    system::{Placed, Role, System},
};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, interval, sleep};

use super::{
    order_view::OrderView,
    plan::Plan,
    screen::{Paint, Screen, took},
};

/// How long an order of the demo may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often everyone is asked for news.
const TICK: Duration = Duration::from_millis(20);
/// News arrive out of order, through pipes of their own: what is told is at least this old.
const SETTLED_AFTER: Duration = Duration::from_millis(80);

/// Something that happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Moment {
    at: Timestamp,
    who: &'static str,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    Accepted,
    Published,
    Attempt { number: usize, answer: String, good: bool },
    Waiting { delay: Duration },
    Delivered { attempts: u64 },
    DeadLettered { reason: String },
    Shown { status: String },
}

/// A journey that has been told.
pub(super) struct Journey<'a> {
    pub(super) plan: &'a Plan,
    /// The order as it is shown at its end.
    pub(super) shown: OrderView,
    /// How many moments it had.
    moments: usize,
}

impl Journey<'_> {
    /// Where it differs from its plan.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut differences = self.plan.differences(&self.shown);
        let wanted = self.plan.moments();
        if differences.is_empty() && self.moments != wanted {
            let name = self.plan.name;
            differences.push(format!("order \"{name}\": {} steps were seen, and not {wanted}", self.moments));
        }
        differences
    }
}

/// Places the order, tells its journey, and returns it with its end.
///
/// # Errors
/// It is not accepted, or not settled in time.
pub(super) async fn tell<'a>(screen: Screen, system: &System, plan: &'a Plan) -> Result<Journey<'a>> {
    let begun = Timestamp::now();
    let placed = system.place(&plan.order()).await?;
    let mut known = vec![Moment { at: Timestamp::now(), who: "producer", what: What::Accepted }];
    let mut told = HashSet::new();
    let mut end: Option<OrderView> = None;
    let deadline = Instant::now() + DEADLINE;
    let mut tick = interval(TICK);
    loop {
        tick.tick().await;
        if end.is_none() {
            let shown: OrderView = serde_json::from_value(system.order(&placed.order_id).await?)?;
            if shown.is_settled() {
                known.push(Moment {
                    at: Timestamp::now(),
                    who: "producer",
                    what: What::Shown { status: shown.status.clone() },
                });
                end = Some(shown);
            }
        }
        let done = end.is_some();
        if done {
            // The last news are under way.
            sleep(SETTLED_AFTER).await;
        }
        let mut moments = known.clone();
        moments.extend(news(system, &placed)?);
        moments.sort();
        let settled = Timestamp::now() - SETTLED_AFTER;
        for moment in moments {
            if (done || moment.at <= settled) && told.insert(moment.clone()) {
                screen.line(moment.shown(screen, begun));
            }
        }
        match end {
            Some(shown) => return Ok(Journey { plan, shown, moments: told.len() }),
            None if Instant::now() > deadline => bail!("order \"{}\" has not ended after {DEADLINE:?}", plan.name),
            None => {}
        }
    }
}

/// All that the processes and the APIs know of this order by now.
fn news(system: &System, placed: &Placed) -> Result<Vec<Moment>> {
    let mut moments = Vec::new();
    let roles = [(Role::Producer, "producer"), (Role::Inventory, "inventory"), (Role::Fulfillment, "fulfillment")];
    for (role, who) in roles {
        let lines = system.process(role)?.log().lines();
        let about = lines.iter().filter(|line| line.field("correlation_id") == Some(&placed.correlation_id));
        for line in about {
            if let Some(what) = What::of_line(line) {
                let at = line.field("timestamp").context("a log line has no timestamp")?.parse()?;
                moments.push(Moment { at, who, what });
            }
        }
    }
    for (api, who) in [(&system.inventory_api, "inventory"), (&system.fulfillment_api, "fulfillment")] {
        for (earlier, call) in api.calls_about(&placed.order_id).iter().enumerate() {
            let at = Timestamp::from_microsecond(i64::try_from(call.at)?)?;
            moments.push(Moment { at, who, what: What::of_call(earlier + 1, call) });
        }
    }
    Ok(moments)
}

impl What {
    /// What a line of a process's log says, if it is a step of the journey.
    fn of_line(line: &Line) -> Option<Self> {
        let field = |name: &str| line.json.as_ref()?.get(name);
        let text = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(match line.field("message")? {
            "published" => Self::Published,
            "attempt failed, backing off" => Self::Waiting { delay: duration(&text("delay"))? },
            "delivered" => Self::Delivered { attempts: field("attempts").and_then(Value::as_u64).unwrap_or(1) },
            "dead-lettered" => Self::DeadLettered { reason: text("reason") },
            _ => return None,
        })
    }

    fn of_call(number: usize, call: &Call) -> Self {
        let good = call.ended == Ended::Answered && call.status.is_some_and(|status| (200..300).contains(&status));
        let answer = call.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        Self::Attempt { number, answer, good }
    }
}

impl Moment {
    fn shown(&self, screen: Screen, begun: Timestamp) -> String {
        let since = self.at.duration_since(begun).try_into().unwrap_or_default();
        let what = match &self.what {
            What::Accepted => "answers 202: accepted, on disk".to_owned(),
            What::Published => "published, confirmed by the broker for both queues".to_owned(),
            What::Attempt { number, answer, good } => {
                let paint = if *good { Paint::Good } else { Paint::Bad };
                format!("attempt {number} → {}", screen.paint(paint, answer))
            }
            What::Waiting { delay } => screen.paint(Paint::Waiting, &format!("waiting {}", took(*delay))),
            What::Delivered { attempts: 1 } => screen.paint(Paint::Good, "delivered"),
            What::Delivered { attempts } => screen.paint(Paint::Good, &format!("delivered, after {attempts} attempts")),
            What::DeadLettered { reason } => screen.paint(Paint::Bad, &format!("dead-lettered: {reason}")),
            What::Shown { status } => format!("shows it as {}", screen.paint(Paint::Bold, status)),
        };
        screen.moment(since, self.who, what)
    }
}

/// A duration as Rust writes it for debugging, such as `412.5ms`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|digit: char| !digit.is_ascii_digit() && digit != '.')?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_duration_is_read_back() {
        for wanted in [Duration::from_micros(412_500), Duration::from_secs(3), Duration::from_micros(7)] {
            let read = duration(&format!("{wanted:?}")).unwrap();
            assert!(read.abs_diff(wanted) < Duration::from_nanos(2), "{wanted:?} was read as {read:?}");
        }
        assert_eq!(duration("soon"), None);
    }
}
