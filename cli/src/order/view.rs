//! Orders, laid out for people.

use std::{collections::BTreeMap, io};

use api::{Accepted, Attempt, Delivery, Order, OrderStatus, Word};

use crate::{
    exit::Exit,
    output::{Paint, Screen, clean, count, paint_of},
};

/// How many items are named in one line.
const ITEMS_SHOWN: usize = 5;

/// The exit code for an order with this status: success only if it is delivered everywhere.
pub(super) fn exit(status: &Word<OrderStatus>) -> Exit {
    match status {
        Word::Known(OrderStatus::Delivered) => Exit::Success,
        Word::Known(OrderStatus::Pending) => Exit::Pending,
        _ => Exit::Unsuccessful,
    }
}

/// Shows an order.
///
/// # Errors
/// As [`Screen::line`].
pub(super) fn show(order: &Order, screen: Screen) -> io::Result<()> {
    head(&order.order_id, &order.status, screen)?;
    screen.field("customer", clean(&order.customer_id))?;
    let mut items: Vec<_> =
        order.items.iter().map(|item| format!("{} × {}", item.qty, clean(&item.product_id))).collect();
    if items.len() > ITEMS_SHOWN {
        let more = items.len() - ITEMS_SHOWN;
        items.truncate(ITEMS_SHOWN);
        items.push(format!("and {more} more"));
    }
    screen.field("items", items.join(", "))?;
    screen.field("created", screen.moment(order.created_at))?;
    screen.field("correlation", clean(&order.correlation_id))?;
    deliveries(&order.deliveries, screen)
}

/// Shows the receipt of an order.
///
/// # Errors
/// As [`Screen::line`].
pub(super) fn show_accepted(accepted: &Accepted, screen: Screen) -> io::Result<()> {
    head(&accepted.order_id, &accepted.status, screen)?;
    screen.field("correlation", clean(&accepted.correlation_id))?;
    deliveries(&accepted.deliveries, screen)
}

fn head(order_id: &str, status: &Word<OrderStatus>, screen: Screen) -> io::Result<()> {
    let status = status.as_str();
    screen.field("order", screen.paint(Paint::Bold, &clean(order_id)))?;
    screen.field("status", screen.paint(paint_of(status), &clean(status)))
}

fn deliveries(deliveries: &BTreeMap<String, Delivery>, screen: Screen) -> io::Result<()> {
    for (destination, delivery) in deliveries {
        let mut status = screen.paint(paint_of(delivery.status.as_str()), &clean(&delivery_status(delivery)));
        if !delivery.attempts.is_empty() {
            let made = delivery.attempts.len() as u64 + u64::from(delivery.attempts_omitted);
            let attempts = format!("({})", count(made, "attempt"));
            status = format!("{status} {}", screen.paint(Paint::Dim, &attempts));
        }
        screen.line("")?;
        screen.field(&clean(destination), status)?;
        for one in &delivery.attempts {
            screen.field("", attempt(one, screen))?;
        }
        if delivery.attempts_omitted > 0 {
            let omitted = count(delivery.attempts_omitted.into(), "attempt");
            screen.field("", format_args!("{omitted} in between not shown"))?;
        }
        if let Some(next_attempt_at) = delivery.next_attempt_at {
            screen.field("", format_args!("next attempt {}", screen.moment(next_attempt_at)))?;
        }
        if let Some(settled_at) = delivery.settled_at {
            screen.field("", format_args!("settled {}", screen.moment(settled_at)))?;
        }
    }
    Ok(())
}

/// The status of a delivery, with its reason if it is dead-lettered.
pub(super) fn delivery_status(delivery: &Delivery) -> String {
    match &delivery.reason {
        Some(reason) => format!("{}: {reason}", delivery.status),
        None => delivery.status.to_string(),
    }
}

/// One attempt, in a line that ends with what the API said.
pub(crate) fn attempt(attempt: &Attempt, screen: Screen) -> String {
    let Attempt { at, duration_ms, status_code, error, answer, .. } = attempt;
    let (paint, result) = match (status_code, error) {
        (Some(code @ 200..=299), None) => (Paint::Good, code.to_string()),
        (Some(code), None) => (Paint::Bad, code.to_string()),
        (Some(code), Some(error)) => (Paint::Bad, format!("{code} {}", clean(error))),
        (None, Some(error)) => (Paint::Bad, clean(error)),
        (None, None) => (Paint::Bad, "no answer".to_owned()),
    };
    let counted = if attempt.is_spent() { "" } else { ", not counted" };
    let took = screen.paint(Paint::Dim, &format!("in {duration_ms} ms{counted}"));
    let answer = answer.as_deref().map(|answer| format!("  {}", clean(answer))).unwrap_or_default();
    format!("{at:.3}  {}  {took}{answer}", screen.paint(paint, &result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_order_that_is_delivered_everywhere_is_a_success() {
        for (status, wanted) in [
            ("delivered", Exit::Success),
            ("pending", Exit::Pending),
            ("partially_delivered", Exit::Unsuccessful),
            ("dead_lettered", Exit::Unsuccessful),
            ("a_new_word", Exit::Unsuccessful),
        ] {
            let status = serde_json::from_value(status.into()).unwrap();
            assert_eq!(exit(&status), wanted);
        }
    }
}
