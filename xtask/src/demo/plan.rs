//! The orders of the demo, and how each is to end.

use tests::order::Order;

use super::order_view::OrderView;

/// An order, what it is there to show, and its end at each destination.
pub(super) struct Plan {
    pub(super) title: &'static str,
    pub(super) name: &'static str,
    /// The fake APIs take its product as a wish how to answer.
    product: &'static str,
    ends: [End; 2],
}

struct End {
    destination: &'static str,
    status: &'static str,
    reason: Option<&'static str>,
    /// What each attempt is answered.
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
            End { destination: "inventory", status: "dead_lettered", reason: Some("rejected"), answers: &[422] },
            delivered("fulfillment", &[200]),
        ],
    },
];

const fn delivered(destination: &'static str, answers: &'static [u16]) -> End {
    End { destination, status: "delivered", reason: None, answers }
}

impl Plan {
    /// What is placed.
    pub(super) fn order(&self) -> Order {
        Order::of(self.product)
    }

    /// How many of its deliveries to this destination end in the dead-letter queue.
    pub(super) fn dead_letters(&self, destination: &str) -> u64 {
        let dead = |end: &&End| end.destination == destination && end.status == "dead_lettered";
        self.ends.iter().filter(dead).count() as u64
    }

    /// How many moments its journey has: accepted, published and shown; each attempt, the wait between two, the end.
    pub(super) fn moments(&self) -> usize {
        3 + self.ends.iter().map(|end| 2 * end.answers.len()).sum::<usize>()
    }

    /// Where the order as shown differs from its plan.
    pub(super) fn differences(&self, shown: &OrderView) -> Vec<String> {
        let mut differences = Vec::new();
        for end in &self.ends {
            let Some(delivery) = shown.deliveries.get(end.destination) else {
                differences.push(format!("order \"{}\": {} is not among its deliveries", self.name, end.destination));
                continue;
            };
            let shown = told(&delivery.status, delivery.reason.as_deref(), delivery.answers());
            let wanted = told(end.status, end.reason, end.answers.iter().map(u16::to_string));
            if shown != wanted {
                differences.push(format!("order \"{}\" at {}: {shown}, and not {wanted}", self.name, end.destination));
            }
        }
        differences
    }
}

fn told(status: &str, reason: Option<&str>, answers: impl Iterator<Item = String>) -> String {
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{status}{reason} after {}", answers.collect::<Vec<_>>().join(", "))
}
