//! An order as it is shown.

use std::{collections::BTreeMap, io};

use common::outcome::Attempt;
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    ending::Ending,
    output::{Paint, Screen, clean, count, paint_of},
};

/// Most items named in one line.
const ITEMS_SHOWN: usize = 5;

/// An order, as far as the API says: the answer to a placed one has less than the one that is looked up.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) customer_id: Option<String>,
    #[serde(default)]
    pub(crate) created_at: Option<Timestamp>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    pub(crate) deliveries: BTreeMap<String, Delivery>,
}

#[derive(Clone, Debug, Deserialize)]
struct Item {
    product_id: String,
    qty: u64,
}

/// How far it is at one destination.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) attempts: Vec<Attempt>,
    #[serde(default)]
    settled_at: Option<Timestamp>,
}

impl Order {
    /// Whether something is still to come.
    pub(crate) fn is_pending(&self) -> bool {
        self.status == "pending"
    }

    /// Whether it is delivered everywhere.
    pub(crate) fn ending(&self) -> Ending {
        match &*self.status {
            "delivered" => Ending::Done,
            "pending" => Ending::Pending,
            _ => Ending::Bad,
        }
    }
}

impl Delivery {
    /// Its status, and why if it is bad.
    pub(crate) fn words(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{}: {reason}", self.status),
            None => self.status.clone(),
        }
    }
}

/// Shows all that is known of it.
///
/// # Errors
/// As [`Screen::line`].
pub(crate) fn show(order: &Order, screen: Screen) -> io::Result<()> {
    screen.field("order", screen.paint(Paint::Bold, &clean(&order.order_id)))?;
    screen.field("status", screen.paint(paint_of(&order.status), &clean(&order.status)))?;
    if let Some(customer_id) = &order.customer_id {
        screen.field("customer", clean(customer_id))?;
    }
    if !order.items.is_empty() {
        let shown = order.items.iter().take(ITEMS_SHOWN);
        let mut items: Vec<_> = shown.map(|item| format!("{} × {}", item.qty, clean(&item.product_id))).collect();
        if order.items.len() > ITEMS_SHOWN {
            items.push(format!("and {} more", order.items.len() - ITEMS_SHOWN));
        }
        screen.field("items", items.join(", "))?;
    }
    if let Some(created_at) = order.created_at {
        screen.field("created", screen.moment(created_at))?;
    }
    if let Some(correlation_id) = &order.correlation_id {
        screen.field("correlation", clean(correlation_id))?;
    }
    for (destination, delivery) in &order.deliveries {
        let mut words = screen.paint(paint_of(&delivery.status), &clean(&delivery.words()));
        if !delivery.attempts.is_empty() {
            let tried = format!("({})", count(delivery.attempts.len() as u64, "attempt"));
            words = format!("{words} {}", screen.paint(Paint::Dim, &tried));
        }
        screen.line("")?;
        screen.field(&clean(destination), words)?;
        for one in &delivery.attempts {
            screen.field("", attempt(one, screen))?;
        }
        if let Some(settled_at) = delivery.settled_at {
            screen.field("", format_args!("settled {}", screen.moment(settled_at)))?;
        }
    }
    Ok(())
}

/// One attempt, in a line.
pub(crate) fn attempt(attempt: &Attempt, screen: Screen) -> String {
    let Attempt { at, duration_ms, status_code, error } = attempt;
    let (paint, result) = match (status_code, error) {
        (Some(code @ 200..=299), None) => (Paint::Good, code.to_string()),
        (Some(code), None) => (Paint::Bad, code.to_string()),
        (Some(code), Some(error)) => (Paint::Bad, format!("{code} {}", clean(error))),
        (None, Some(error)) => (Paint::Bad, clean(error)),
        (None, None) => (Paint::Bad, "no answer".to_owned()),
    };
    let took = screen.paint(Paint::Dim, &format!("in {duration_ms} ms"));
    format!("{at:.3}  {}  {took}", screen.paint(paint, &result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(json: &str) -> Order {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_order_is_read_with_members_that_are_new_and_without_those_that_are_missing() {
        let accepted = order(r#"{"order_id": "1", "status": "pending", "deliveries": {"n": {"status": "pending"}}}"#);
        assert!(accepted.is_pending());
        let order = order(
            r#"{"order_id": "1", "status": "dead_lettered", "new": [1], "deliveries": {"n": {"status": "dead_lettered",
                "reason": "rejected", "new": 1, "attempts": [{"at": "2026-11-24T06:00:00Z", "duration_ms": 3,
                "status_code": 422, "new": 1}], "settled_at": null}}}"#,
        );
        assert_eq!(order.deliveries["n"].words(), "dead_lettered: rejected");
        assert_eq!(order.ending(), Ending::Bad);
    }

    #[test]
    fn only_delivered_everywhere_is_a_good_end() {
        for (status, ending) in [
            ("delivered", Ending::Done),
            ("pending", Ending::Pending),
            ("partially_delivered", Ending::Bad),
            ("dead_lettered", Ending::Bad),
        ] {
            assert_eq!(order(&format!(r#"{{"order_id": "1", "status": "{status}"}}"#)).ending(), ending);
        }
    }
}
