//! The orders of the demo, and how each should end.

use api::{Attempt, DeliveryStatus, Reason, Word};
use tests::order::Order;

/// An order, what it shows, and its end at each destination.
pub(super) struct Plan {
    pub(super) title: &'static str,
    pub(super) name: &'static str,
    /// Decides how the fake APIs answer.
    product: &'static str,
    ends: [End; 2],
}

struct End {
    destination: &'static str,
    status: DeliveryStatus,
    reason: Option<Reason>,
    /// The answer to each attempt.
    answers: &'static [u16],
}

/// All of them, in the order in which they are placed.
pub(super) const PLANS: [Plan; 4] = [
    Plan {
        title: "healthy",
        name: "healthy",
        product: "tea",
        ends: [delivered("inventory", &[200]), delivered("fulfillment", &[200])],
    },
    Plan {
        title: "healthy as well",
        name: "healthy too",
        product: "biscuits",
        ends: [delivered("inventory", &[200]), delivered("fulfillment", &[200])],
    },
    Plan {
        title: "the fulfillment API fails twice, then recovers",
        name: "recovers",
        product: "fulfillment-fail-2",
        ends: [delivered("inventory", &[200]), delivered("fulfillment", &[503, 503, 200])],
    },
    Plan {
        title: "the inventory API refuses it for good, with 422",
        name: "refused",
        product: "inventory-status-422",
        ends: [
            End {
                destination: "inventory",
                status: DeliveryStatus::DeadLettered,
                reason: Some(Reason::Rejected),
                answers: &[422],
            },
            delivered("fulfillment", &[200]),
        ],
    },
];

const fn delivered(destination: &'static str, answers: &'static [u16]) -> End {
    End { destination, status: DeliveryStatus::Delivered, reason: None, answers }
}

impl Plan {
    pub(super) fn order(&self) -> Order {
        Order::of(self.product)
    }

    /// How many of its deliveries to this destination become dead letters.
    pub(super) fn dead_letters(&self, destination: &str) -> u64 {
        let dead = |end: &&End| end.destination == destination && end.status == DeliveryStatus::DeadLettered;
        self.ends.iter().filter(dead).count() as u64
    }

    /// How many steps its journey has: accepted, published and shown; each attempt, the wait between two, the end.
    pub(super) fn steps(&self) -> usize {
        3 + self.ends.iter().map(|end| 2 * end.answers.len()).sum::<usize>()
    }

    /// Where the order as shown differs from its plan.
    pub(super) fn differences(&self, shown: &api::Order) -> Vec<String> {
        let mut differences = Vec::new();
        for end in &self.ends {
            let Some(delivery) = shown.deliveries.get(end.destination) else {
                differences.push(format!("order \"{}\": {} has no delivery", self.name, end.destination));
                continue;
            };
            let reason = delivery.reason.as_ref().map(Word::as_str);
            let shown = end_in_words(delivery.status.as_str(), reason, delivery.attempts.iter().map(answer));
            let reason = end.reason.map(Reason::as_str);
            let planned = end_in_words(end.status.as_str(), reason, end.answers.iter().map(u16::to_string));
            if shown != planned {
                differences
                    .push(format!("order \"{}\" at {}: {shown} instead of {planned}", self.name, end.destination));
            }
        }
        differences
    }
}

/// How an attempt ended, in a word.
pub(super) fn answer(attempt: &Attempt) -> String {
    let error = || attempt.error.clone().unwrap_or_default();
    attempt.status_code.map_or_else(error, |code| code.to_string())
}

fn end_in_words(status: &str, reason: Option<&str>, answers: impl Iterator<Item = String>) -> String {
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{status}{reason} after {}", answers.collect::<Vec<_>>().join(", "))
}
