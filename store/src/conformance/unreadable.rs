//! Rows of a newer version, and damaged ones.

use common::word::Word;

use super::{dead_letters as letters, *};
use crate::{
    Change, Filter, OrderFilter,
    sql::Text,
    testing::{ended, order},
};

/// One row that cannot be read is left out of lists, the feed and an order; an event is published all the same.
pub(crate) async fn a_row_that_cannot_be_read_costs_its_neighbours_nothing(backend: &mut impl Backend, desk: &Desk) {
    let placed: Vec<_> = (0..3).map(|second| order("c-1", second)).collect();
    let orders: Vec<_> = placed.iter().map(Placed::event).collect();
    let start = desk.last_change().await.unwrap();
    backend.commit(&Batch { orders: placed, ..Batch::default() }).await.unwrap();
    let mut ids = Vec::new();
    for order in &orders {
        let mut end = ended(order, "north", false);
        end.attempts[0].error = Some(format!("{}", ids.len()));
        backend.commit(&Batch { outcomes: vec![end], ..Batch::default() }).await.unwrap();
        ids.push(letters::stored(desk, &letters::letter(Some(order), "north")).await);
    }
    assert_eq!(desk.unreadable(), 0);
    for (text, id) in [
        ("UPDATE orders SET event = CAST('{}' AS BLOB) WHERE order_id = $1", orders[1].order_id.0),
        ("UPDATE deliveries SET outcome = '{\"status\": \"held\"}' WHERE order_id = $1", orders[0].order_id.0),
        ("UPDATE dead_letters SET destination = 'NO NAME' WHERE id = $1", ids[1]),
        ("UPDATE dead_letters SET attempts = '[7]' WHERE id = $1", ids[2]),
    ] {
        let postgres: &str =
            if text.contains("BLOB") { "UPDATE orders SET event = '{}' WHERE order_id = $1" } else { text };
        desk.run(Text { sqlite: text, postgres }, id).await;
    }

    let entries = desk.outbox(0, 9).await.unwrap();
    let published: Vec<_> = entries.iter().map(|entry| (entry.order_id, entry.event_id)).collect();
    let unknown = EventId(orders[1].order_id.0);
    let wanted = [
        (orders[0].order_id, orders[0].event_id),
        (orders[1].order_id, unknown),
        (orders[2].order_id, orders[2].event_id),
    ];
    assert_eq!((published.as_slice(), &*entries[1].body), (&wanted[..], &b"{}"[..]));
    assert_eq!(desk.events_of(vec![orders[1].order_id]).await.unwrap()[0].event_id, unknown);

    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = desk.orders(OrderFilter::default(), after, 1).await.unwrap();
        listed.extend(page.orders.iter().map(|order| (order.event.order_id, order.recorded.len())));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, [(orders[2].order_id, 1), (orders[0].order_id, 0)]);
    assert_eq!(desk.order(orders[0].order_id).await.unwrap().unwrap().status(), OrderStatus::Pending);

    let changes = loop {
        // Any transaction that began earlier may hold the feed back for a moment.
        let changes = desk.changes(start, 9).await.unwrap();
        if changes.len() == 3 {
            break changes;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!(changes.iter().map(|change| change.delivery.is_some()).collect::<Vec<_>>(), [false, true, true]);
    assert!(changes[0].change > Change::default());

    let (mut listed, mut before) = (Vec::new(), None);
    while let [letter] = &desk.dead_letters(Filter::default(), before, 1).await.unwrap()[..] {
        before = Some(letter.id);
        listed.push((letter.id, letter.attempts.len()));
    }
    assert_eq!(listed, [(ids[2], 0), (ids[0], 1)]);
    let groups = desk.dead_letter_groups(Filter::default(), None, 2).await.unwrap();
    assert_eq!(groups.iter().map(|group| group.sample_id).collect::<Vec<_>>(), [ids[0], ids[2]]);
    assert!(desk.unreadable() >= 6);
}

/// A reason that this version does not know is text, in the ledger and with its dead letter.
pub(crate) async fn a_reason_of_a_newer_version_is_kept_everywhere(backend: &mut impl Backend, desk: &Desk) {
    let order = letters::order(backend).await;
    let reason = Word::Other("outcome_unknown".to_owned());
    let end = Outcome { reason: Some(reason.clone()), ..ended(&order, "north", false) };
    backend.commit(&Batch { outcomes: vec![end], ..Batch::default() }).await.unwrap();
    let known = desk.order(order.order_id).await.unwrap().unwrap();
    assert_eq!(known.recorded[0].entry.reason, Some(reason.clone()));
    let id = letters::stored(desk, &letters::letter(Some(&order), "north")).await;
    let filter = Filter { reason: Some(reason.clone()), ..Filter::default() };
    let listed = desk.dead_letters(filter.clone(), None, 9).await.unwrap();
    assert_eq!((listed.len(), listed[0].id, &listed[0].reason), (1, id, &reason));
    assert_eq!(desk.dead_letter_groups(filter, None, 9).await.unwrap()[0].reason, reason);
    assert_eq!(desk.dead_letter(id).await.unwrap().unwrap().lineage[0].reason, reason);
}
