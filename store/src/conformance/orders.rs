//! Orders, their keys, the outbox and the ledger.

use common::destination::Name;

use super::*;
use crate::{DeliveryRecord, LaneMark, OrderRecord, StoreFault};

/// An accepted order is in the outbox, with the bytes that were committed, until it is marked.
pub(crate) async fn an_accepted_order_waits_in_the_outbox_until_it_is_marked(backend: &mut impl Backend, desk: &Desk) {
    let orders: Vec<_> = (0..5).map(|_| placed(None)).collect();
    let bodies: Vec<_> = orders.iter().map(|placed| placed.event().encode().unwrap()).collect();
    let traces: Vec<_> = orders.iter().map(|placed| placed.trace).collect();
    let stored = accept(backend, orders).await;
    let positions: Vec<_> = stored.iter().map(position).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");

    let waiting = desk.outbox(0, 100).await.unwrap();
    assert_eq!(waiting.iter().map(|entry| entry.position).collect::<Vec<_>>(), positions);
    assert_eq!(waiting.iter().map(|entry| entry.body.to_vec()).collect::<Vec<_>>(), bodies);
    assert_eq!(waiting.iter().map(|entry| entry.trace).collect::<Vec<_>>(), traces);
    assert_eq!(desk.outbox(positions[1], 2).await.unwrap().first().map(|entry| entry.position), Some(positions[2]));

    for (published_up_to, events) in [(positions[1], 3), (positions[4], 0), (positions[0], 0)] {
        backend.commit(&Batch { published_up_to: Some(published_up_to), ..Batch::default() }).await.unwrap();
        let backlog = desk.backlog().await.unwrap();
        assert_eq!((backlog.events, backlog.last), (events, positions[4]));
        // What was published stays published, even if an earlier mark comes late.
        assert!(backlog.published_up_to >= published_up_to);
        assert_eq!(backlog.oldest_at.is_some(), events > 0);
    }
}

/// While one destination is behind, the others keep their own marks.
pub(crate) async fn a_destination_that_is_ahead_has_its_own_mark(backend: &mut impl Backend, desk: &Desk) {
    let stored = accept(backend, (0..5).map(|_| placed(None)).collect()).await;
    let positions: Vec<_> = stored.iter().map(position).collect();
    let lane = |destination: &str, up_to| LaneMark { destination: destination.parse().unwrap(), up_to };
    let mark = |up_to, lanes| Batch { published_up_to: Some(up_to), lanes, ..Batch::default() };
    backend.commit(&mark(positions[0], vec![lane("south", positions[2])])).await.unwrap();
    let backlog = desk.backlog().await.unwrap();
    assert_eq!((backlog.events, backlog.published_up_to), (4, positions[0]));
    assert_eq!(backlog.lanes, [lane("south", positions[2])]);
    // An earlier mark that comes late changes nothing.
    backend.commit(&mark(positions[1], vec![lane("south", positions[1])])).await.unwrap();
    assert_eq!(desk.backlog().await.unwrap().lanes, [lane("south", positions[2])]);
    // The one that was behind has caught up.
    backend.commit(&mark(positions[4], Vec::new())).await.unwrap();
    let backlog = desk.backlog().await.unwrap();
    assert_eq!((backlog.events, backlog.lanes), (0, Vec::new()));
}

/// What has ended at a destination is not in its outbox, and not named where all of it is read.
pub(crate) async fn the_outbox_of_a_destination_holds_what_is_pending_there(backend: &mut impl Backend, desk: &Desk) {
    let orders: Vec<_> = (0..3).map(|_| placed(None)).collect();
    let first = orders[0].event();
    let stored = accept(backend, orders).await;
    let positions: Vec<_> = stored.iter().map(position).collect();
    let outcomes = vec![outcome(&first, "south", OutcomeStatus::Delivered)];
    backend.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
    let of = async |destination: &str, after| -> Vec<Position> {
        let entries = desk.outbox_of(destination.parse().unwrap(), after, 10).await.unwrap();
        entries.iter().map(|entry| entry.position).collect()
    };
    assert_eq!(of("north", 0).await, positions);
    assert_eq!(of("south", 0).await, positions[1..]);
    assert_eq!(of("north", positions[1]).await, positions[2..]);
    let lacking = desk.outbox(0, 10).await.unwrap().into_iter().map(|entry| entry.lacking.unwrap());
    let lacking: Vec<_> =
        lacking.map(|names| names.iter().map(Name::to_string).collect::<Vec<_>>().join(",")).collect();
    assert_eq!(lacking, ["north", "north,south", "north,south"]);
}

/// One key is one order, within a transaction and over transactions; another request under it is refused.
pub(crate) async fn one_key_is_one_order(backend: &mut impl Backend, desk: &Desk) {
    let (first, twin, other) = (placed(Some(("k", 1))), placed(Some(("k", 1))), placed(Some(("k", 2))));
    let (order_id, correlation_id) = (first.order_id, first.correlation_id.clone());
    let stored = accept(backend, vec![first, twin, other]).await;
    let waiting = desk.outbox(0, 10).await.unwrap();
    assert_eq!((waiting[0].position, waiting[0].order_id), (position(&stored[0]), order_id));
    assert_eq!(waiting[0].correlation_id, correlation_id.as_str());
    let again = accept(backend, vec![placed(Some(("k", 1))), placed(Some(("k", 3)))]).await;
    for replayed in [&stored[1], &again[0]] {
        let Acceptance::Replayed(receipt) = replayed else { panic!("not replayed: {replayed:?}") };
        assert_eq!((receipt.order_id, &receipt.correlation_id, receipt.replayed), (order_id, &correlation_id, true));
    }
    assert!(matches!(stored[2], Acceptance::KeyReused));
    assert!(matches!(again[1], Acceptance::KeyReused));
    assert_eq!(desk.outbox(0, 10).await.unwrap().len(), 1);
}

/// The ledger has one truth per delivery, however often it is reported.
pub(crate) async fn the_ledger_keeps_one_truth_per_delivery(backend: &mut impl Backend, desk: &Desk) {
    let placed = placed(None);
    let order = placed.event();
    accept(backend, vec![placed]).await;
    let dead = outcome(&order, "north", OutcomeStatus::DeadLettered);
    let delivered = outcome(&order, "north", OutcomeStatus::Delivered);
    let south = outcome(&order, "south", OutcomeStatus::Delivered);
    let reports = [
        (vec![dead.clone()], OrderStatus::Pending),
        (vec![dead.clone(), south.clone()], OrderStatus::PartiallyDelivered),
        (vec![delivered.clone(), delivered.clone()], OrderStatus::Delivered),
    ];
    for (outcomes, status) in reports {
        backend.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
        assert_eq!(super::status(desk, &order).await, status, "an order is settled with its last delivery");
    }
    let OrderRecord { event, destinations, mut recorded } = desk.order(order.order_id).await.unwrap().unwrap();
    assert_eq!(event, order);
    assert_eq!(destinations, ["north", "south"]);
    recorded.sort_by(|a, b| a.entry.destination.cmp(&b.entry.destination));
    assert_eq!(recorded.len(), 2);
    let north = &recorded[0].entry;
    assert_eq!((north.status, north.attempts.len()), (Some(OutcomeStatus::Delivered), 2));
    assert_eq!(recorded[1], DeliveryRecord { entry: (&south).into(), pending: false });
    assert_eq!(desk.order(OrderId::new()).await.unwrap(), None);
}

/// A transaction that fails leaves nothing behind.
pub(crate) async fn a_failed_transaction_stores_nothing(backend: &mut impl Backend, desk: &Desk) {
    let (one, mut twin) = (placed(None), placed(None));
    twin.order_id = one.order_id;
    let failed = backend.commit(&Batch { orders: vec![one, twin], ..Batch::default() }).await;
    assert!(matches!(failed, Err(StoreFault::Database(_))), "{failed:?}");
    assert_eq!(desk.outbox(0, 10).await.unwrap().len(), 0);
    accept(backend, vec![placed(None)]).await;
    assert_eq!(desk.outbox(0, 10).await.unwrap().len(), 1);
}
