//! The account at the end: where every order is, how often each API was called, and what went wrong.

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use anyhow::Result;
use api::{DeadLetterGroup, Delivery, DeliveryStatus, List, Word};
use console::{Style, style};
use indicatif::HumanCount;
use tests::{
    fake_api::Summary,
    system::{Role, System},
    waiting,
};

use super::{bulk::Bulk, journey::Journey, plan::answer, screen::line};

/// How long it may take until a dead letter is listed.
const LISTED_WITHIN: Duration = Duration::from_secs(5);

/// All that is known at the end.
pub(super) struct Account<'a> {
    journeys: &'a [Journey<'a>],
    bulk: &'a Bulk,
    destinations: Vec<Destination>,
    /// What is wrong with the system as a whole.
    faults: Vec<String>,
}

/// The numbers of one destination.
struct Destination {
    name: &'static str,
    /// What its API has counted.
    api: Summary,
    dead_letters: u64,
    planned_dead_letters: u64,
}

impl<'a> Account<'a> {
    /// Asks the APIs, the producer and the broker.
    ///
    /// # Errors
    /// One of them does not answer.
    pub(super) async fn draw_up(system: &System, journeys: &'a [Journey<'a>], bulk: &'a Bulk) -> Result<Self> {
        let mut faults = Vec::new();
        let mut destinations = Vec::new();
        for (name, role, api) in [
            ("inventory", Role::Inventory, &system.inventory_api),
            ("fulfillment", Role::Fulfillment, &system.fulfillment_api),
        ] {
            let planned_dead_letters = journeys.iter().map(|journey| journey.plan.dead_letters(name)).sum();
            let dead_letters = dead_letters(system, name, planned_dead_letters).await?;
            let queue = system.names.queue(name);
            let empty = system.queues().await?.wait_for_depth(&queue, "no messages", |depth| depth.ready == 0).await;
            faults.extend(empty.err().map(|fault| format!("{fault:#}")));
            if let Some(status) = system.process(role)?.exit_status() {
                faults.push(format!("{} has ended ({status})", role.binary()));
            }
            destinations.push(Destination { name, api: api.summary(), dead_letters, planned_dead_letters });
        }
        let reports = dead_letters(system, "outcomes", 0).await?;
        if reports > 0 {
            faults.push(format!("{reports} reports are dead letters"));
        }
        Ok(Self { journeys, bulk, destinations, faults })
    }

    /// A row for each order and destination. Deliveries of the bulk that ended in the same way share a row.
    pub(super) fn show_orders(&self) {
        let titles = ["order", "destination", "status", "attempts", "last answer", "reason"];
        show_order(titles, Style::new().dim());
        for Journey { plan, order, .. } in self.journeys {
            let mut name = plan.name;
            for Destination { name: destination, .. } in &self.destinations {
                let Some(delivery) = order.deliveries.get(*destination) else { continue };
                show_delivery(name, destination, delivery.status.as_str(), delivery);
                name = "";
            }
        }
        let mut name = format!("{} in bulk", HumanCount(self.bulk.orders.len() as u64));
        for Destination { name: destination, .. } in &self.destinations {
            let mut alike = BTreeMap::<_, (u64, &Delivery)>::new();
            for delivery in self.bulk.deliveries(destination) {
                let end = (&delivery.status, delivery.attempts.len(), last_answer(delivery), &delivery.reason);
                alike.entry(end).or_insert((0, delivery)).0 += 1;
            }
            for (number, delivery) in alike.into_values() {
                show_delivery(&name, destination, &format!("{} {}", HumanCount(number), delivery.status), delivery);
                name.clear();
            }
        }
    }

    /// A row for each destination.
    pub(super) fn show_destinations(&self) {
        let titles = ["accepted", "delivered", "dead letters", "keys", "calls", "repeats"];
        let row = |name: &str, cells: [String; 6]| {
            let [accepted, delivered, dead_letters, keys, calls, repeats] = cells;
            format!("  {name:12}{accepted:>10}{delivered:>11}{dead_letters:>14}{keys:>8}{calls:>8}{repeats:>9}")
        };
        line(style(row("destination", titles.map(str::to_owned))).dim());
        for Destination { name, api, dead_letters, .. } in &self.destinations {
            let numbers = [self.accepted(), api.effects, *dead_letters, api.keys, api.calls, api.repeats];
            line(row(name, numbers.map(|number| HumanCount(number).to_string())));
        }
    }

    /// Everything that did not end as planned.
    pub(super) fn faults(&self) -> Vec<String> {
        let accepted = self.accepted();
        let mut faults = self.bulk.faults.clone();
        faults.extend(self.journeys.iter().flat_map(Journey::differences));
        for Destination { name, api, dead_letters, planned_dead_letters } in &self.destinations {
            let mut expect = |what: &str, number: u64, planned: u64| {
                if number != planned {
                    faults.push(format!("{name}: {what}: {number} instead of {planned}"));
                }
            };
            expect("delivered orders and dead letters together", api.effects + dead_letters, accepted);
            expect("dead letters", *dead_letters, *planned_dead_letters);
            expect("distinct orders in calls", api.orders, accepted);
            expect("distinct idempotency keys", api.keys, accepted);
            expect("orders under more than one key", api.orders_with_several_keys, 0);
            expect("keys used for different bodies", api.mismatches, 0);
            expect("calls against the contract", api.refused, 0);
            let delivered =
                self.bulk.deliveries(name).filter(|delivery| delivery.status == DeliveryStatus::Delivered).count();
            expect("orders in bulk shown as delivered", delivered as u64, self.bulk.orders.len() as u64);
        }
        faults.extend(self.faults.iter().cloned());
        faults
    }

    fn accepted(&self) -> u64 {
        (self.journeys.len() + self.bulk.orders.len()) as u64
    }
}

fn show_delivery(order: &str, destination: &str, status: &str, delivery: &Delivery) {
    let attempts = delivery.attempts.len().to_string();
    let reason = delivery.reason.as_ref().map(Word::as_str).unwrap_or_default();
    let style = match delivery.status.known() {
        Some(DeliveryStatus::DeadLettered) => Style::new().red(),
        Some(DeliveryStatus::Pending) => Style::new().yellow(),
        _ => Style::new(),
    };
    show_order([order, destination, status, &attempts, &last_answer(delivery), reason], style);
}

fn last_answer(delivery: &Delivery) -> String {
    delivery.attempts.last().map(answer).unwrap_or_default()
}

fn show_order([order, destination, status, attempts, answer, reason]: [&str; 6], style: Style) {
    let row = format!("  {order:15}{destination:13}{status:16}{attempts:>9}  {answer:13}{reason}");
    line(style.apply_to(row.trim_end()));
}

/// How many dead letters the producer lists, once there are as many as planned, or after a while.
async fn dead_letters(system: &System, destination: &str, planned: u64) -> Result<u64> {
    let path = format!("/v1/dead-letters:groups?limit=500&destination={destination}");
    let mut listed = 0;
    let check = async || match system.get::<List<DeadLetterGroup>>(&path).await {
        Ok(groups) => {
            listed = groups.items.iter().map(|group| group.count).sum();
            if listed == planned {
                ControlFlow::Break(Ok(planned))
            } else {
                ControlFlow::Continue(format!("{groups:?}"))
            }
        }
        Err(fault) => ControlFlow::Break(Err(fault)),
    };
    let what = format!("{planned} dead letters of {destination}");
    waiting::until(&what, LISTED_WITHIN, check).await.unwrap_or(Ok(listed))
}
