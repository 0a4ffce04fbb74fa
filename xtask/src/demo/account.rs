//! The account at the end: where every order is, what each API was told, and what is not as it should be.

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use anyhow::Result;
use comfy_table::{CellAlignment, LineStyle, Table, presets};
use tests::{
    fake_api::Summary,
    system::{Role, System},
    waiting,
};

use super::{
    bulk::Bulk,
    journey::Journey,
    order_view::{DeliveryView, OrderView},
    screen::{Paint, Screen, count},
};

/// How long a dead letter may be on its way into the list.
const DEAD_LETTER_WITHIN: Duration = Duration::from_secs(5);
/// Columns of numbers, from the left, in the table of orders and in that of destinations.
const ATTEMPTS: usize = 3;
const NUMBERS: std::ops::Range<usize> = 1..7;

/// All that is known at the end.
pub(super) struct Account<'a> {
    /// The journeys that were told one by one.
    pub(super) told: &'a [Journey<'a>],
    /// The many.
    pub(super) bulk: &'a Bulk,
    destinations: Vec<Destination>,
    /// What is wrong with the system as a whole.
    faults: Vec<String>,
}

/// The numbers of one destination.
struct Destination {
    name: &'static str,
    /// What its API has seen.
    seen: Summary,
    /// How many dead letters it has, and is to have.
    dead_letters: u64,
    planned_dead_letters: u64,
}

impl<'a> Account<'a> {
    /// Asks the APIs and the broker.
    ///
    /// # Errors
    /// The broker does not answer.
    pub(super) async fn draw_up(system: &System, told: &'a [Journey<'a>], bulk: &'a Bulk) -> Result<Self> {
        let mut faults = Vec::new();
        let mut destinations = Vec::new();
        for (name, role, api) in [
            ("inventory", Role::Inventory, &system.inventory_api),
            ("fulfillment", Role::Fulfillment, &system.fulfillment_api),
        ] {
            let planned_dead_letters = told.iter().map(|journey| journey.plan.dead_letters(name)).sum();
            let dead_letters = dead_letters(system, name, planned_dead_letters).await?;
            let waiting = depth(system, &system.names.queue(name), 0).await?;
            if waiting > 0 {
                faults.push(format!("{} deliveries still wait in the queue of {name}", count(waiting)));
            }
            if let Some(status) = system.process(role)?.exit_status() {
                faults.push(format!("{} has ended ({status})", role.binary()));
            }
            destinations.push(Destination { name, seen: api.summary(), dead_letters, planned_dead_letters });
        }
        let reports = dead_letters(system, "outcomes", 0).await?;
        if reports > 0 {
            faults.push(format!("{} reports are dead letters", count(reports)));
        }
        Ok(Self { told, bulk, destinations, faults })
    }

    /// A row for each order and destination; the many are one order here.
    pub(super) fn show_orders(&self, screen: Screen) {
        let mut table = table(&["order", "destination", "status", "attempts", "last answer", "reason"], [ATTEMPTS]);
        for Journey { plan, shown, .. } in self.told {
            let mut name = plan.name;
            for destination in &self.destinations {
                let Some(delivery) = shown.deliveries.get(destination.name) else { continue };
                table.add_row([
                    name,
                    destination.name,
                    &delivery.status,
                    &delivery.attempts.len().to_string(),
                    &delivery.last_answer(),
                    delivery.reason.as_deref().unwrap_or_default(),
                ]);
                name = "";
            }
        }
        let mut name = format!("{} in bulk", count(self.bulk.orders.len() as u64));
        for destination in &self.destinations {
            for ((status, last_answer, reason), alike) in alike(&self.bulk.orders, destination.name) {
                let status = format!("{} {status}", count(alike.deliveries));
                table.add_row([
                    name.as_str(),
                    destination.name,
                    &status,
                    &alike.attempts(),
                    &last_answer,
                    reason.unwrap_or_default(),
                ]);
                name.clear();
            }
        }
        show(screen, &table);
    }

    /// A row for each destination.
    pub(super) fn show_destinations(&self, screen: Screen) {
        let header = ["destination", "accepted", "told", "dead letters", "keys", "calls", "repeats"];
        let mut table = table(&header, NUMBERS);
        for Destination { name, seen, dead_letters, .. } in &self.destinations {
            let numbers = [self.accepted(), seen.effects, *dead_letters, seen.keys, seen.calls, seen.repeats];
            table.add_row(std::iter::once((*name).to_owned()).chain(numbers.map(count)));
        }
        show(screen, &table);
    }

    /// Everything that is not as it should be.
    pub(super) fn faults(&self) -> Vec<String> {
        let accepted = self.accepted();
        let mut faults = self.bulk.faults.clone();
        faults.extend(self.told.iter().flat_map(Journey::differences));
        for Destination { name, seen, dead_letters, planned_dead_letters } in &self.destinations {
            let mut expect = |what: &str, number: u64, wanted: u64| {
                if number != wanted {
                    faults.push(format!("{name}: {what}: {}, and not {}", count(number), count(wanted)));
                }
            };
            expect("orders told and dead letters together", seen.effects + dead_letters, accepted);
            expect("dead letters", *dead_letters, *planned_dead_letters);
            expect("distinct orders called about", seen.orders, accepted);
            expect("distinct idempotency keys", seen.keys, accepted);
            expect("orders under more than one key", seen.orders_with_several_keys, 0);
            expect("keys used for different bodies", seen.mismatches, 0);
            expect("calls against the contract", seen.refused, 0);
            let settled = self.bulk.orders.iter().filter_map(|order| order.deliveries.get(*name));
            let delivered = settled.filter(|delivery| delivery.status == "delivered").count() as u64;
            expect("orders in bulk shown as delivered", delivered, self.bulk.orders.len() as u64);
        }
        faults.extend(self.faults.iter().cloned());
        faults
    }

    fn accepted(&self) -> u64 {
        (self.told.len() + self.bulk.orders.len()) as u64
    }
}

/// Deliveries of which the same is to be said.
#[derive(Default)]
struct Alike {
    deliveries: u64,
    fewest_attempts: Option<usize>,
    most_attempts: usize,
}

impl Alike {
    fn add(&mut self, delivery: &DeliveryView) {
        let attempts = delivery.attempts.len();
        self.deliveries += 1;
        self.fewest_attempts = Some(self.fewest_attempts.map_or(attempts, |fewest| fewest.min(attempts)));
        self.most_attempts = self.most_attempts.max(attempts);
    }

    fn attempts(&self) -> String {
        match self.fewest_attempts {
            Some(fewest) if fewest < self.most_attempts => format!("{fewest}-{}", self.most_attempts),
            _ => self.most_attempts.to_string(),
        }
    }
}

fn alike<'a>(orders: &'a [OrderView], destination: &str) -> BTreeMap<(&'a str, String, Option<&'a str>), Alike> {
    let mut groups = BTreeMap::<_, Alike>::new();
    for delivery in orders.iter().filter_map(|order| order.deliveries.get(destination)) {
        let group = (delivery.status.as_str(), delivery.last_answer(), delivery.reason.as_deref());
        groups.entry(group).or_default().add(delivery);
    }
    groups
}

/// How many dead letters of a destination the producer lists, as soon as it is as wanted, or after a while.
async fn dead_letters(system: &System, destination: &str, wanted: u64) -> Result<u64> {
    let path = format!("/v1/dead-letters:groups?limit=500&destination={destination}");
    let mut seen = 0;
    let asked = async || match system.get(&path).await {
        Ok(groups) => {
            let counts = groups["items"].as_array().into_iter().flatten().filter_map(|group| group["count"].as_u64());
            seen = counts.sum();
            if seen == wanted { ControlFlow::Break(Ok(wanted)) } else { ControlFlow::Continue(groups.to_string()) }
        }
        Err(fault) => ControlFlow::Break(Err(fault)),
    };
    waiting::until(&format!("{wanted} dead letters of {destination}"), DEAD_LETTER_WITHIN, asked)
        .await
        .unwrap_or(Ok(seen))
}

/// How many messages are ready in a queue, once there are as many as wanted, or after a while.
async fn depth(system: &System, queue: &str, wanted: u64) -> Result<u64> {
    let queues = system.queues().await?;
    let mut seen = 0;
    let asked = async || match queues.depth(queue).await {
        Ok(depth) if u64::from(depth.ready) == wanted => ControlFlow::Break(Ok(wanted)),
        Ok(depth) => {
            seen = u64::from(depth.ready);
            ControlFlow::Continue(format!("{depth:?}"))
        }
        Err(fault) => ControlFlow::Break(Err(fault)),
    };
    waiting::until(&format!("{wanted} messages in {queue}"), DEAD_LETTER_WITHIN, asked).await.unwrap_or(Ok(seen))
}

fn table(header: &[&str], numbers: impl IntoIterator<Item = usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─')));
    table.set_header(header.iter().copied());
    for index in numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn show(screen: Screen, table: &Table) {
    for line in table.lines() {
        let line = format!(" {}", line.trim_end());
        let paint = if line.contains("dead_lettered") {
            Some(Paint::Bad)
        } else if line.contains("pending") {
            Some(Paint::Waiting)
        } else if line.contains('─') {
            Some(Paint::Dim)
        } else {
            None
        };
        screen.line(paint.map_or_else(|| line.clone(), |paint| screen.paint(paint, &line)));
    }
}
