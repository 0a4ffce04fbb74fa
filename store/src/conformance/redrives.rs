//! Redrives, and what reconciliation asks.

use std::time::Duration;

use common::status::{RedriveStatus, Refusal};
use jiff::Timestamp;
use uuid::Uuid;

use super::{dead_letters as letters, *};
use crate::{Control, Controlled, Created, Filter, Plan, Redrive, RedriveRequest, RedriveTerms, Refused, Selection};

fn request(selection: Selection) -> RedriveRequest {
    let origins = ["north", "south"].map(|name| (name.parse().unwrap(), None)).into();
    RedriveRequest { selection, origins, force: false, new_key: false }
}

fn everything() -> RedriveRequest {
    request(Selection::Filter(Filter::default()))
}

fn terms() -> RedriveTerms {
    let (rate, stop_after_failed_share) = (50.0, 0.5);
    RedriveTerms { rate, concurrency: 100, stop_after_failed_share, body: None, new_key: false, idempotency: None }
}

async fn create(desk: &Desk, request: RedriveRequest) -> Redrive {
    match desk.create_redrive(request, terms()).await.unwrap() {
        Created::New(redrive) => *redrive,
        other => panic!("not created: {other:?}"),
    }
}

async fn job(desk: &Desk, id: Uuid) -> Redrive {
    desk.redrive(id).await.unwrap().unwrap()
}

/// Dead letters of orders that north has refused.
async fn dead(backend: &mut impl Backend, desk: &Desk, count: usize) -> Vec<(OrderCreated, Uuid)> {
    let mut dead = Vec::new();
    for _ in 0..count {
        let order = letters::order(backend).await;
        let ends = [(OutcomeStatus::DeadLettered, "north"), (OutcomeStatus::Delivered, "south")];
        let outcomes = ends.map(|(status, destination)| outcome(&order, destination, status)).to_vec();
        backend.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
        let id = letters::stored(desk, &letters::letter(Some(&order), "north")).await;
        dead.push((order, id));
    }
    dead
}

/// Reports the end of the delivery to north. Returns whether that settled the order.
async fn end(
    backend: &mut impl Backend,
    desk: &Desk,
    order: &OrderCreated,
    end: OutcomeStatus,
    dead_letter: Option<Uuid>,
) -> bool {
    let outcomes = vec![Outcome { dead_letter, ..outcome(order, "north", end) }];
    let before = status(desk, order).await;
    backend.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
    before == OrderStatus::Pending && status(desk, order).await != OrderStatus::Pending
}

async fn redriving(desk: &Desk, order: &OrderCreated) -> bool {
    let known = desk.order(order.order_id).await.unwrap().unwrap();
    known.recorded.iter().any(|delivery| delivery.entry.destination == "north" && delivery.pending)
}

/// A redrive has what was dead when it was created, each dead letter is in one redrive at a time, and what was
/// taken is pending until it ends.
pub(crate) async fn a_redrive_sends_what_was_dead_when_it_was_created_and_ends_with_it(
    backend: &mut impl Backend,
    desk: &Desk,
) {
    let dead_letters = dead(backend, desk, 3).await;
    let Plan { matched, sample, refused } = desk.plan_redrive(everything()).await.unwrap();
    assert_eq!((matched, sample.len(), refused.len()), (3, 3, 0));
    let redrive = create(desk, everything()).await;
    assert_eq!((redrive.matched, redrive.progress.queued, redrive.status), (3, 3, RedriveStatus::Running));
    let late = dead(backend, desk, 1).await;
    let plan = desk.plan_redrive(everything()).await.unwrap();
    let refused = vec![Refused { reason: Refusal::InAnotherRedrive, count: 3 }];
    assert_eq!((plan.matched, plan.sample[0].id, &plan.refused), (1, late[0].1, &refused));
    let ids = Selection::Ids(vec![dead_letters[0].1]);
    assert!(matches!(desk.create_redrive(request(ids), terms()).await, Ok(Created::Nothing(_))));

    // Taken before it is published, and found again until the broker has confirmed it.
    let taken = desk.take_redrive(redrive.id, 2).await.unwrap();
    let mut ids: Vec<_> = taken.iter().map(|sending| sending.dead_letter).collect();
    assert_eq!(ids, [dead_letters[0].1, dead_letters[1].1]);
    assert_eq!(taken[0].body, dead_letters[0].0.encode().unwrap());
    let unconfirmed = desk.unconfirmed_redrives(None, 10).await.unwrap();
    assert_eq!(unconfirmed.iter().map(|sending| sending.dead_letter).collect::<Vec<_>>(), ids);
    assert!(redriving(desk, &dead_letters[0].0).await && !redriving(desk, &dead_letters[2].0).await);
    desk.sent_redrives(vec![ids[0]]).await.unwrap();
    assert_eq!(desk.unconfirmed_redrives(None, 10).await.unwrap().len(), 1);
    assert_eq!(desk.unconfirmed_redrives(Some(ids[1]), 10).await.unwrap().len(), 0);

    // A late report of the first delivery changes nothing; the report of the redrive ends it.
    assert!(!end(backend, desk, &dead_letters[0].0, OutcomeStatus::DeadLettered, None).await);
    assert!(redriving(desk, &dead_letters[0].0).await);
    assert!(end(backend, desk, &dead_letters[0].0, OutcomeStatus::Delivered, Some(ids[0])).await);
    assert!(!redriving(desk, &dead_letters[0].0).await);
    // Dead again, before the confirm was marked.
    assert!(end(backend, desk, &dead_letters[1].0, OutcomeStatus::DeadLettered, Some(ids[1])).await);
    desk.sent_redrives(vec![ids[1]]).await.unwrap();
    let progress = job(desk, redrive.id).await.progress;
    assert_eq!((progress.delivered, progress.dead_lettered, progress.queued, progress.sent), (1, 1, 1, 0));
    let again = letters::letter_again(Some(&dead_letters[1].0), "north", Some(ids[1]));
    let again = desk.dead_letter(letters::stored(desk, &again).await).await.unwrap().unwrap();
    assert_eq!((again.letter.redrives, again.lineage.len()), (1, 2));
    assert_eq!(again.letter.attempts.len(), 2, "{:?}", again.letter.attempts);

    // The last one is reported as delivered, by a report that does not name the dead letter.
    ids = desk.take_redrive(redrive.id, 9).await.unwrap().iter().map(|sending| sending.dead_letter).collect();
    assert_eq!(ids, [dead_letters[2].1]);
    let standing = desk.running_redrives().await.unwrap();
    assert_eq!((standing.len(), standing[0].queued, standing[0].under_way), (1, false, 1));
    assert_eq!(standing[0].failed_of_last, 1);
    assert!(end(backend, desk, &dead_letters[2].0, OutcomeStatus::Delivered, None).await);
    desk.end_redrive_of_report(ids[0]).await.unwrap();
    desk.end_redrive(redrive.id, RedriveStatus::Completed, None).await.unwrap();
    let done = job(desk, redrive.id).await;
    assert_eq!((done.status, done.progress.delivered, done.progress.dead_lettered), (RedriveStatus::Completed, 2, 1));
    assert_eq!(desk.redrives(None, 10).await.unwrap(), [done]);
}

/// A redrive is paused, resumed and cancelled, and a key that may be forgotten is refused.
pub(crate) async fn a_redrive_is_controlled_and_a_forgotten_key_refused_unless_forced(
    backend: &mut impl Backend,
    desk: &Desk,
) {
    let dead_letters = dead(backend, desk, 2).await;
    let redrive = create(desk, everything()).await;
    let controlled = async |control| desk.control_redrive(redrive.id, control).await.unwrap();
    assert_eq!(controlled(Control::Resume).await, Controlled::NotPossible(RedriveStatus::Running));
    assert!(matches!(controlled(Control::Pause).await, Controlled::Done(_)));
    assert_eq!(desk.take_redrive(redrive.id, 9).await.unwrap().len(), 0);
    assert!(matches!(controlled(Control::Resume).await, Controlled::Done(_)));
    assert_eq!(desk.take_redrive(redrive.id, 1).await.unwrap().len(), 1);
    let Controlled::Done(cancelled) = controlled(Control::Cancel).await else { panic!("not cancelled") };
    assert_eq!((cancelled.progress.cancelled, cancelled.progress.sending), (1, 1));
    assert_eq!(controlled(Control::Cancel).await, Controlled::NotPossible(RedriveStatus::Cancelled));
    assert_eq!(desk.control_redrive(Uuid::now_v7(), Control::Pause).await.unwrap(), Controlled::Unknown);

    // The other one is dead as before.
    let ids = vec![dead_letters[1].1, Uuid::now_v7()];
    let mut request = request(Selection::Ids(ids));
    request.origins.insert("north".parse().unwrap(), Some(Timestamp::MAX));
    let plan = desk.plan_redrive(request.clone()).await.unwrap();
    let of = |reason| plan.refused.iter().find(|refused| refused.reason == reason).map(|refused| refused.count);
    assert_eq!((plan.matched, of(Refusal::KeyExpired), of(Refusal::NotFound)), (0, Some(1), Some(1)));
    request.force = true;
    assert_eq!(desk.plan_redrive(request).await.unwrap().matched, 1);
}

/// A dead letter that a redrive has queued is not removed with its order, even if it was delivered in the
/// meantime: the redrive would wait for it forever.
pub(crate) async fn an_order_is_kept_while_a_redrive_has_a_dead_letter_of_it(backend: &mut impl Backend, desk: &Desk) {
    let (order, _) = dead(backend, desk, 1).await.remove(0);
    let redrive = create(desk, everything()).await;
    end(backend, desk, &order, OutcomeStatus::Delivered, None).await;
    let later = now() + jiff::SignedDuration::from_secs(60);
    assert_eq!(desk.sweep_orders(later, None, 9).await.unwrap().removed, 0);
    assert_eq!(desk.take_redrive(redrive.id, 9).await.unwrap().len(), 0);
    let progress = job(desk, redrive.id).await.progress;
    assert_eq!((progress.delivered, progress.queued), (1, 0));
    assert_eq!(desk.sweep_orders(later, None, 9).await.unwrap().removed, 1);
}

/// A pending delivery is found by where it was seen last.
pub(crate) async fn pending_deliveries_are_found_by_where_they_were_seen_last(backend: &mut impl Backend, desk: &Desk) {
    let order = letters::order(backend).await;
    let later = now() + jiff::SignedDuration::from_secs(60);
    let marks = desk.published_marks().await.unwrap();
    assert_eq!(desk.pending_published("north".parse().unwrap(), marks, later, 9).await.unwrap().total, 0);
    let oldest = async || desk.oldest_pending("north".parse().unwrap()).await.unwrap();
    assert_eq!(oldest().await, Some(order.occurred_at));
    let unpublished = desk.pending_unpublished(later, 9).await.unwrap();
    assert_eq!((unpublished.total, unpublished.overdue.len()), (2, 2));
    let position = desk.outbox(0, 1).await.unwrap()[0].position;
    backend.commit(&Batch { published_up_to: Some(position), ..Batch::default() }).await.unwrap();
    assert_eq!(desk.pending_unpublished(later, 9).await.unwrap().total, 0);
    let marks = desk.published_marks().await.unwrap();
    let found = desk.pending_published("north".parse().unwrap(), marks.clone(), later, 9).await.unwrap();
    assert_eq!((found.total, found.overdue[0].order_id), (1, Some(order.order_id)));
    let entries = desk.events_of(vec![order.order_id, OrderId::new()]).await.unwrap();
    assert_eq!((entries.len(), entries[0].event_id), (1, order.event_id));
    end(backend, desk, &order, OutcomeStatus::DeadLettered, None).await;
    assert_eq!(desk.pending_published("north".parse().unwrap(), marks.clone(), later, 9).await.unwrap().total, 0);
    assert_eq!(oldest().await, None);
    assert_eq!(desk.oldest_pending("south".parse().unwrap()).await.unwrap(), Some(order.occurred_at));

    // While it is redriven it is found by its dead letter, and not by its order.
    let id = letters::stored(desk, &letters::letter(Some(&order), "north")).await;
    let redrive = create(desk, everything()).await;
    desk.take_redrive(redrive.id, 9).await.unwrap();
    assert_eq!(desk.pending_published("north".parse().unwrap(), marks, later, 9).await.unwrap().total, 0);
    assert_eq!(oldest().await, None);
    desk.sent_redrives(vec![id]).await.unwrap();
    let found = desk.pending_redriven("north".parse().unwrap(), later, 9).await.unwrap();
    assert_eq!((found.total, found.overdue[0].dead_letter), (1, Some(id)));
    desk.send_redriven_again(vec![id]).await.unwrap();
    assert_eq!(desk.unconfirmed_redrives(None, 9).await.unwrap().len(), 1);
    assert!(desk.lease("test", id, Duration::from_secs(60)).await.unwrap());
    assert!(desk.lease("test", id, Duration::from_secs(60)).await.unwrap(), "kept");
    desk.release("test", id).await.unwrap();
    assert!(desk.lease("test", Uuid::now_v7(), Duration::from_secs(60)).await.unwrap());
}

/// A key answers with the redrive that it was first used for; for another request it is refused.
pub(crate) async fn a_repeated_key_returns_its_redrive_even_if_an_earlier_version_stored_it(
    backend: &mut impl Backend,
    desk: &Desk,
) {
    dead(backend, desk, 1).await;
    let keyed = async |fingerprint, earlier_fingerprint| {
        let (scope, key, expired_up_to) = ("redrives".to_owned(), "k".to_owned(), Timestamp::UNIX_EPOCH);
        let idempotency = Some(Idempotency { scope, key, fingerprint, earlier_fingerprint, expired_up_to });
        desk.create_redrive(everything(), RedriveTerms { idempotency, ..terms() }).await.unwrap()
    };
    let Created::New(first) = keyed([1; 32], None).await else { panic!("the key is new") };
    for (fingerprint, earlier) in [([1; 32], None), ([2; 32], Some([1; 32]))] {
        let Created::Replayed(again) = keyed(fingerprint, earlier).await else { panic!("the key is known") };
        assert_eq!(again.id, first.id);
    }
    for (fingerprint, earlier) in [([2; 32], None), ([2; 32], Some([3; 32]))] {
        assert_eq!(keyed(fingerprint, earlier).await, Created::KeyReused);
    }
}
