//! The journey of one order, as the client, the logs of the processes and the called APIs saw it.

use std::{ops::ControlFlow, time::Duration};

use ::tests::{
    fake_api::{Call, Ended},
    log::Line,
    system::{Placed, Role, System},
    waiting,
};
use anyhow::{Context, Result};
use console::style;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    plan::Plan,
    screen::{self, took},
};

/// Log lines come through pipes, a little later than the end of the order.
const LOGGED_WITHIN: Duration = Duration::from_secs(2);

/// The journey of one order.
pub(super) struct Journey<'a> {
    pub(super) plan: &'a Plan,
    /// The order as shown at its end.
    pub(super) order: api::Order,
    /// How many steps were seen.
    steps: usize,
}

/// Something that happened to an order.
struct Step {
    at: Timestamp,
    who: &'static str,
    what: String,
}

impl<'a> Journey<'a> {
    /// Places an order, waits for its end, and prints all steps.
    ///
    /// # Errors
    /// The order is not accepted, or not settled in time.
    pub(super) async fn of(plan: &'a Plan, system: &System) -> Result<Self> {
        let start = Timestamp::now();
        let placed = system.place(&plan.order()).await?;
        let accepted =
            Step { at: Timestamp::now(), who: "producer", what: "answers 202: accepted, on disk".to_owned() };
        let order = system.wait_settled(&placed.order_id).await?;
        let what = format!("shows it as {}", style(order.status.as_str()).bold());
        let shown = Step { at: Timestamp::now(), who: "producer", what };

        let mut steps = seen(system, &placed, plan.steps() - 2).await?;
        steps.extend([accepted, shown]);
        steps.sort_by_key(|step| step.at);
        for Step { at, who, what } in &steps {
            screen::line(screen::moment(at.duration_since(start).try_into().unwrap_or_default(), who, what));
        }
        Ok(Self { plan, order, steps: steps.len() })
    }

    /// Where it differs from its plan.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut differences = self.plan.differences(&self.order);
        let planned = self.plan.steps();
        if differences.is_empty() && self.steps != planned {
            differences
                .push(format!("order \"{}\": {} steps were seen instead of {planned}", self.plan.name, self.steps));
        }
        differences
    }
}

/// The steps that the processes and the APIs have seen, once there are as many as planned, or after a while.
async fn seen(system: &System, placed: &Placed, planned: usize) -> Result<Vec<Step>> {
    let check = async || match seen_so_far(system, placed) {
        Ok(steps) if steps.len() < planned => ControlFlow::Continue(format!("{} steps", steps.len())),
        steps => ControlFlow::Break(steps),
    };
    let steps = waiting::until(&format!("{planned} steps"), LOGGED_WITHIN, check).await;
    steps.unwrap_or_else(|_| seen_so_far(system, placed))
}

fn seen_so_far(system: &System, placed: &Placed) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let roles = [(Role::Producer, "producer"), (Role::Inventory, "inventory"), (Role::Fulfillment, "fulfillment")];
    for (role, who) in roles {
        let lines = system.process(role)?.log().lines();
        for line in lines.iter().filter(|line| line.field("correlation_id") == Some(&placed.correlation_id)) {
            if let Some(what) = logged(line) {
                let at = line.field("timestamp").context("a log line has no timestamp")?.parse()?;
                steps.push(Step { at, who, what });
            }
        }
    }
    for (api, who) in [(&system.inventory_api, "inventory"), (&system.fulfillment_api, "fulfillment")] {
        for (index, call) in api.calls_about(&placed.order_id).iter().enumerate() {
            let at = Timestamp::from_microsecond(i64::try_from(call.at)?)?;
            steps.push(Step { at, who, what: format!("attempt {} → {}", index + 1, answer(call)) });
        }
    }
    Ok(steps)
}

/// What a log line says, if it is a step of the journey.
fn logged(line: &Line) -> Option<String> {
    let field = |name: &str| line.json.as_ref()?.get(name);
    Some(match line.field("message")? {
        "published" => "published, confirmed by the broker for both queues".to_owned(),
        "attempt failed, backing off" => {
            let delay: SignedDuration = line.field("delay")?.parse().ok()?;
            style(format!("waiting {}", took(delay.unsigned_abs()))).yellow().to_string()
        }
        "delivered" => match field("attempts").and_then(Value::as_u64) {
            Some(attempts) if attempts > 1 => {
                style(format!("delivered, after {attempts} attempts")).green().to_string()
            }
            _ => style("delivered").green().to_string(),
        },
        "dead-lettered" => {
            style(format!("dead-lettered: {}", line.field("reason").unwrap_or_default())).red().to_string()
        }
        _ => return None,
    })
}

fn answer(call: &Call) -> String {
    match call.status {
        Some(status @ 200..300) if call.ended == Ended::Answered => style(status).green().to_string(),
        Some(status) => style(status).red().to_string(),
        None => style("no answer").red().to_string(),
    }
}
