//! Lists of orders, the feed, and upkeep.

use common::{
    order::OrderId,
    status::{DeliveryStatus, OrderStatus},
};

use crate::{
    Acceptance, Backend, Batch, Change, Desk, Idempotency, OrderFilter, OrderRecord, Placed,
    testing::{at, ended, names, order},
};

/// Every combination of how two deliveries can be, for two customers; newest first.
async fn place_all(backend: &mut impl Backend, desk: &Desk) -> Vec<OrderRecord> {
    let ends = [None, Some(true), Some(false)];
    let (mut orders, mut outcomes) = (Vec::new(), Vec::new());
    let mut second = 0;
    for _ in 0..3 {
        for customer in ["c-1", "c-2"] {
            for north in ends {
                for south in ends {
                    let placed = order(customer, second);
                    second += 10;
                    for (destination, end) in [("north", north), ("south", south)] {
                        outcomes.extend(end.map(|delivered| ended(&placed.event(), destination, delivered)));
                    }
                    orders.push(placed);
                }
            }
        }
    }
    let ids: Vec<_> = orders.iter().rev().map(|placed| placed.order_id).collect();
    backend.commit(&Batch { orders, ..Batch::default() }).await.unwrap();
    backend.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
    let mut shown = Vec::new();
    for order_id in ids {
        shown.push(sorted(desk.order(order_id).await.unwrap().unwrap()));
    }
    shown
}

/// No store promises an order of the deliveries.
fn sorted(mut known: OrderRecord) -> OrderRecord {
    known.recorded.sort_by(|one, other| one.entry.destination.cmp(&other.entry.destination));
    known
}

/// Whether an order matches, from what is known of it.
fn fits(order: &OrderRecord, filter: &OrderFilter) -> bool {
    let (deliveries, event) = (order.deliveries(), &order.event);
    let delivery = filter.destination.as_ref().map(|name| deliveries.get(name.as_str()));
    let status = filter.status.is_none_or(|status| match delivery.flatten() {
        None => order.status() == status,
        Some(DeliveryStatus::DeadLettered) if status == OrderStatus::PartiallyDelivered => order.status() == status,
        Some(delivery) => serde_json::to_value(delivery).unwrap() == status.as_str(),
    });
    status
        && delivery.is_none_or(|delivery| delivery.is_some())
        && filter.customer_id.as_deref().is_none_or(|customer| event.customer_id.as_str() == customer)
        && filter.from.is_none_or(|from| event.occurred_at >= from)
        && filter.to.is_none_or(|to| event.occurred_at < to)
}

async fn pages(desk: &Desk, filter: &OrderFilter, limit: u32) -> Vec<OrderRecord> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = desk.orders(filter.clone(), after, limit).await.unwrap();
        assert!(page.orders.len() <= limit as usize);
        all.extend(page.orders.into_iter().map(sorted));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// Each filter, alone and with every other, lists exactly the orders that match.
pub(crate) async fn every_combination_of_filters_lists_what_matches(backend: &mut impl Backend, desk: &Desk) {
    let all = place_all(backend, desk).await;
    let texts = |texts: [&'static str; 3]| texts.map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()));
    let statuses = OrderStatus::ALL.into_iter().map(Some).chain([None]);
    let mut filters = Vec::new();
    for status in statuses {
        for destination in texts(["", "north", "nowhere"]) {
            for customer_id in texts(["", "c-1", "c-3"]) {
                for (from, to) in [(None, None), (Some(100), Some(400)), (Some(101), None), (None, Some(399))] {
                    let (from, to) = (from.map(at), to.map(at));
                    let destination = destination.as_ref().map(|name| name.parse().unwrap());
                    let customer_id = customer_id.clone();
                    filters.push(OrderFilter { status, destination, customer_id, from, to });
                }
            }
        }
    }
    let mut listed = 0;
    for filter in filters {
        let wanted: Vec<_> = all.iter().filter(|order| fits(order, &filter)).collect();
        for limit in [3, 500] {
            let found = pages(desk, &filter, limit).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{filter:?}");
            listed += found.len();
        }
    }
    assert!(listed > 1_000, "{listed}");
}

/// Orders that are placed while a list is read neither repeat nor skip any.
pub(crate) async fn pages_are_stable_while_orders_are_placed(backend: &mut impl Backend, desk: &Desk) {
    let all = place_all(backend, desk).await;
    let (mut seen, mut after, mut second) = (Vec::new(), None, 10_000);
    loop {
        let page = desk.orders(OrderFilter::default(), after, 7).await.unwrap();
        seen.extend(page.orders.into_iter().map(|known| known.event.order_id));
        second += 1;
        backend.commit(&Batch { orders: vec![order("c-1", second)], ..Batch::default() }).await.unwrap();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, all.iter().map(|order| order.event.order_id).collect::<Vec<_>>());
}

/// The feed has each change in the order of its commit, and the end of an order with the last of them.
pub(crate) async fn the_feed_is_in_the_order_of_commits(backend: &mut impl Backend, desk: &Desk) {
    let (one, two) = (order("c-1", 0), order("c-1", 1));
    let (first, second) = (one.event(), two.event());
    backend.commit(&Batch { orders: vec![one, two], ..Batch::default() }).await.unwrap();
    let start = desk.last_change().await.unwrap();
    let reports = [
        vec![ended(&first, "north", true)],
        vec![ended(&second, "north", false), ended(&second, "south", false)],
        vec![ended(&first, "south", false)],
    ];
    for outcomes in reports {
        backend.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
    }
    let read = async |after: Change, limit: u32, count: usize| {
        // Any transaction that began earlier may hold the feed back for a moment.
        let changes = loop {
            let changes = desk.changes(after, limit).await.unwrap();
            if changes.len() >= count {
                break changes;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert!(changes.is_sorted_by(|a, b| a.change < b.change));
        let short = |name: OrderId| if name == first.order_id { 1 } else { 2 };
        let read: Vec<_> = changes
            .iter()
            .map(|it| {
                let entry = it.delivery.as_ref().unwrap().entry.clone();
                (short(entry.order_id), entry.destination, it.settled)
            })
            .collect();
        (read, changes.last().map(|last| last.change))
    };
    let (all, last) = read(start, 100, 4).await;
    let [north, south] = names(["north", "south"]);
    let (partly, dead) = (Some(OrderStatus::PartiallyDelivered), Some(OrderStatus::DeadLettered));
    let wanted = [(1, north.clone(), None), (2, north.clone(), None), (2, south.clone(), dead), (1, south, partly)];
    assert_eq!(all, wanted);
    assert!(last <= Some(desk.last_change().await.unwrap()));
    let (page, after) = read(start, 2, 2).await;
    assert_eq!(page, wanted[..2]);
    assert_eq!(read(after.unwrap(), 100, 2).await.0, wanted[2..]);

    // A further report of a delivery moves it to the end of the feed.
    let again = vec![ended(&first, "north", true)];
    backend.commit(&Batch { outcomes: again, ..Batch::default() }).await.unwrap();
    assert_eq!(read(last.unwrap(), 100, 1).await.0, [(1, north, partly)]);
}

fn keyed(key: &str, fill: u8, second: i64, expired_up_to: i64) -> Placed {
    let idempotency = Idempotency {
        scope: String::new(),
        key: key.to_owned(),
        fingerprint: [fill; 32],
        earlier_fingerprint: None,
        expired_up_to: at(expired_up_to),
    };
    Placed { idempotency: Some(idempotency), ..order("c-1", second) }
}

async fn accept(backend: &mut impl Backend, placed: Placed) -> Acceptance {
    backend.commit(&Batch { orders: vec![placed], ..Batch::default() }).await.unwrap().remove(0)
}

/// An expired key is as good as new to the microsecond, swept or not; the same key of another client is another.
pub(crate) async fn an_expired_key_is_as_good_as_new(backend: &mut impl Backend, desk: &Desk) {
    assert!(matches!(accept(backend, keyed("k", 1, 100, 0)).await, Acceptance::New(_)));
    assert!(matches!(accept(backend, keyed("k", 2, 199, 99)).await, Acceptance::KeyReused));
    assert!(matches!(accept(backend, keyed("k", 1, 199, 99)).await, Acceptance::Replayed(_)));
    assert!(matches!(accept(backend, keyed("k", 2, 200, 100)).await, Acceptance::New(_)), "nothing was swept yet");
    assert!(matches!(accept(backend, keyed("k", 1, 299, 199)).await, Acceptance::KeyReused));
    let mut others = keyed("k", 3, 299, 199);
    others.idempotency.as_mut().unwrap().scope = "another client".to_owned();
    assert!(matches!(accept(backend, others).await, Acceptance::New(_)));

    for number in 0..10 {
        accept(backend, keyed(&format!("old-{number}"), 1, 50, 0)).await;
    }
    let sweeps =
        [desk.sweep_keys(at(50), 4).await, desk.sweep_keys(at(50), 100).await, desk.sweep_keys(at(199), 100).await];
    assert_eq!(sweeps, [Ok(4), Ok(6), Ok(0)]);
    assert!(matches!(accept(backend, keyed("old-1", 2, 60, 0)).await, Acceptance::New(_)));
    assert!(matches!(accept(backend, keyed("k", 2, 299, 199)).await, Acceptance::Replayed(_)));
}

/// Retention removes old delivered orders with all that belongs to them, and nothing else.
pub(crate) async fn only_old_orders_that_are_delivered_everywhere_are_removed(backend: &mut impl Backend, desk: &Desk) {
    let all = place_all(backend, desk).await;
    let limit = at(400);
    let (mut after, mut removed, mut batches) = (None, 0, 0);
    loop {
        let swept = desk.sweep_orders(limit, after, 5).await.unwrap();
        (after, removed, batches) = (swept.next, removed + swept.removed, batches + 1);
        if after.is_none() {
            break;
        }
    }
    let goes = |order: &OrderRecord| order.status() == OrderStatus::Delivered && order.event.occurred_at < limit;
    let gone = all.iter().filter(|order| goes(order)).count();
    assert_eq!((removed as usize, gone > 2), (gone, true));
    assert!((8..=10).contains(&batches), "{batches}");
    let left = pages(desk, &OrderFilter::default(), 500).await;
    let wanted: Vec<_> = all.iter().filter(|order| !goes(order)).map(|order| order.event.order_id).collect();
    assert_eq!(left.iter().map(|order| order.event.order_id).collect::<Vec<_>>(), wanted);
    // Their deliveries are gone with them: the feed has what is left.
    let read = desk.changes(Change::default(), 1_000).await.unwrap();
    assert!(read.iter().all(|change| wanted.contains(&change.delivery.as_ref().unwrap().entry.order_id)));
}
