//! Deliveries that wait, and ends that are ends.

use std::sync::Arc;

use common::{
    outcome::{Handover, Progress},
    status::{DeadLetterState, DeliveryStatus},
};
use jiff::{SignedDuration, Timestamp};

use super::{dead_letters as letters, *};
use crate::{
    Change, Collected, Collection, Created, DeliveryRecord, DueWait, DueWaits, Filter, RedriveRequest, RedriveTerms,
    Selection, Steered,
};

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn attempt(second: i64) -> Attempt {
    let (at, status_code) = (time(second), Some(503));
    Attempt { at, duration_ms: 3, status_code, error: None, answer: Some("busy".to_owned()), spent: None }
}

/// A delivery to north that has made these attempts and waits until `due` in a worker.
fn progress(order: &OrderCreated, attempts: &[i64], due: i64) -> Progress {
    Progress {
        event_id: order.event_id,
        order_id: order.order_id,
        correlation_id: order.correlation_id.clone(),
        destination: "north".parse().unwrap(),
        dead_letter: None,
        attempts: attempts.iter().map(|second| attempt(*second)).collect(),
        next_attempt_at: time(due),
        handover: None,
    }
}

/// The same, waiting in the store.
fn handed_over(order: &OrderCreated, attempts: &[i64], due: i64, spent: Option<u32>) -> Progress {
    let (event, retry_until) = (String::from_utf8(order.encode().unwrap()).unwrap(), time(86_400));
    let traceparent = Some(TraceParent::root().to_string());
    let handover = Some(Handover { event, traceparent, spent, unanswered: true, retry_until });
    Progress { handover, ..progress(order, attempts, due) }
}

async fn report(backend: &mut impl Backend, progress: Vec<Progress>, outcomes: Vec<Outcome>) {
    backend.commit(&Batch { progress, outcomes, ..Batch::default() }).await.unwrap();
}

async fn due(desk: &Desk, at: i64, most: u32) -> DueWaits {
    desk.due_waits("north".parse().unwrap(), time(at), most).await.unwrap()
}

async fn release(desk: &Desk, waits: &[DueWait], at: i64) {
    let waits = waits.iter().map(|wait| (wait.order_id, wait.destination.clone(), wait.due)).collect();
    desk.release_waits(waits, time(at)).await.unwrap();
}

async fn north(desk: &Desk, order: &OrderCreated) -> Option<DeliveryRecord> {
    let known = desk.order(order.order_id).await.unwrap().unwrap();
    known.recorded.into_iter().find(|delivery| delivery.entry.destination == "north")
}

/// What is reported of a pending delivery is shown and in the feed, and changes nothing else.
pub(crate) async fn a_delivery_shows_its_attempts_while_it_waits(backend: &mut impl Backend, desk: &Desk) {
    let order = letters::order(backend).await;
    let south = outcome(&order, "south", OutcomeStatus::Delivered);
    report(backend, vec![progress(&order, &[1], 2)], vec![south]).await;
    report(backend, vec![progress(&order, &[2], 4), progress(&order, &[2, 3], 5)], vec![]).await;
    let shown = north(desk, &order).await.unwrap();
    let at: Vec<_> = shown.entry.attempts.iter().map(|attempt| attempt.at).collect();
    assert_eq!((at, shown.entry.next_attempt_at), (vec![time(1), time(2), time(3)], Some(time(5))));
    assert_eq!((shown.status(), shown.entry.attempts[2].answer.as_deref()), (DeliveryStatus::Pending, Some("busy")));
    assert_eq!(status(desk, &order).await, OrderStatus::Pending);
    // Any transaction that began earlier may hold the feed back for a moment.
    let of_north = loop {
        let changes = desk.changes(Change::default(), 10).await.unwrap();
        let of_north = |delivery: &DeliveryRecord| delivery.entry.destination == "north";
        match changes.into_iter().find(|change| change.delivery.as_ref().is_some_and(of_north)) {
            Some(change) => break change,
            None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    };
    assert_eq!((of_north.delivery.as_ref(), of_north.settled), (Some(&shown), None));
    assert_eq!(due(desk, 9, 9).await.next, None, "it waits in a worker");

    let delivered = outcome(&order, "north", OutcomeStatus::Delivered);
    report(backend, vec![], vec![delivered]).await;
    let shown = north(desk, &order).await.unwrap();
    assert_eq!((shown.entry.attempts.len(), shown.entry.next_attempt_at), (4, None));
    assert_eq!(status(desk, &order).await, OrderStatus::Delivered);
}

/// A wait is over at its time, is published once, and is gone when its delivery has ended.
pub(crate) async fn a_wait_is_published_when_it_is_over_and_dies_with_its_delivery(
    backend: &mut impl Backend,
    desk: &Desk,
) {
    let (first, second) = (letters::order(backend).await, letters::order(backend).await);
    let waits = vec![handed_over(&first, &[1], 20, Some(1)), handed_over(&second, &[2], 10, None)];
    report(backend, waits.clone(), vec![]).await;
    let waiting = due(desk, 9, 9).await;
    assert_eq!((waiting.due.len(), waiting.under_way, waiting.next), (0, 0, Some(time(10))));
    assert_eq!(desk.waiting("north".parse().unwrap()).await, Ok(2));
    let waiting = due(desk, 30, 1).await;
    assert_eq!(
        (waiting.due.len(), waiting.next),
        (1, Some(time(20))),
        "the first that is over, and no more than asked"
    );
    let waiting = due(desk, 30, 9).await;
    assert_eq!((waiting.due.len(), waiting.next), (2, None));
    let wait = &waiting.due[0];
    assert_eq!((wait.order_id, wait.event_id, wait.dead_letter), (second.order_id, second.event_id, None));
    assert_eq!((wait.spent, wait.unanswered, wait.retry_until), (1, true, time(86_400)));
    assert_eq!(
        (&wait.body[..], wait.correlation_id.as_str()),
        (&second.encode().unwrap()[..], second.correlation_id.as_str())
    );
    assert!(wait.trace.is_some());

    release(desk, &waiting.due[..1], 30).await;
    let rest = due(desk, 30, 2).await;
    assert_eq!((rest.due.len(), rest.under_way, rest.due[0].order_id), (1, 1, first.order_id));
    assert_eq!(due(desk, 30, 1).await.due.len(), 0, "one is under way");
    // It waits again before the first was marked: the mark is not for that.
    report(backend, vec![handed_over(&first, &[1, 21], 40, Some(2))], vec![]).await;
    release(desk, &rest.due, 31).await;
    let waiting = due(desk, 40, 9).await;
    assert_eq!((waiting.due.len(), waiting.due[0].spent, waiting.under_way), (1, 2, 1));

    // In one report a delivery may wait and end.
    let ends = [&first, &second].map(|order| outcome(order, "north", OutcomeStatus::Delivered)).to_vec();
    report(backend, vec![handed_over(&first, &[41], 50, Some(3))], ends).await;
    report(backend, waits, vec![]).await;
    let waiting = due(desk, 99, 9).await;
    assert_eq!((waiting.due.len(), waiting.under_way, waiting.next), (0, 0, None), "a late report ends no end");
    assert!(north(desk, &first).await.unwrap().entry.attempts.len() == 4);
}

/// Who asks for it ends a wait: the delivery is due, or a dead letter.
pub(crate) async fn a_wait_is_ended_by_request(backend: &mut impl Backend, desk: &Desk) {
    let (first, second) = (letters::order(backend).await, letters::order(backend).await);
    let name = |name: &str| name.parse().unwrap();
    let retry = async |order: &OrderCreated, to: &str| desk.retry(order.order_id, name(to), time(5)).await.unwrap();
    let cancel = async |order: &OrderCreated, to: &str| desk.cancel(order.order_id, name(to), time(6)).await.unwrap();
    for steered in [retry(&placed(None).event(), "north").await, cancel(&placed(None).event(), "north").await] {
        assert_eq!(steered, Steered::UnknownOrder);
    }
    for steered in [retry(&first, "east").await, cancel(&first, "east").await] {
        assert_eq!(steered, Steered::UnknownDestination);
    }
    for steered in [retry(&first, "north").await, cancel(&first, "north").await] {
        assert_eq!(steered, Steered::UnderWay, "nothing is reported of it");
    }
    let waits = vec![handed_over(&first, &[1], 900, Some(1)), handed_over(&second, &[2], 900, Some(1))];
    report(backend, waits, vec![]).await;
    assert_eq!(due(desk, 5, 9).await.due.len(), 0);
    assert_eq!(retry(&first, "north").await, Steered::Done);
    assert_eq!(north(desk, &first).await.unwrap().entry.next_attempt_at, Some(time(5)));
    let waiting = due(desk, 5, 9).await;
    assert_eq!((waiting.due.len(), waiting.due[0].order_id), (1, first.order_id));
    release(desk, &waiting.due, 5).await;
    for steered in [retry(&first, "north").await, cancel(&first, "north").await] {
        assert_eq!(steered, Steered::UnderWay, "it is published");
    }

    assert_eq!(cancel(&second, "north").await, Steered::Done);
    let ended = north(desk, &second).await.unwrap();
    assert_eq!((ended.status(), ended.entry.reason), (DeliveryStatus::DeadLettered, Some(Reason::Cancelled.into())));
    let letters = listed(desk, &second).await;
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.reason.clone(), letter.attempts.len()), (Reason::Cancelled.into(), 1));
    assert_eq!(desk.dead_letter(letter.id).await.unwrap().unwrap().content.body, second.encode().unwrap());
    assert_eq!(due(desk, 999, 9).await.next, None);
    for steered in [retry(&second, "north").await, cancel(&second, "north").await] {
        assert_eq!(steered, Steered::Ended(OutcomeStatus::DeadLettered));
    }
}

/// However many waits are over at once, only so many are under way, and fresh orders go on as if there were none.
pub(crate) async fn many_that_are_due_together_are_paced_and_keep_nobody_waiting(
    backend: &mut impl Backend,
    desk: &Desk,
) {
    let mut orders = Vec::new();
    for _ in 0..5 {
        let placed: Vec<_> = (0..200).map(|_| placed(None)).collect();
        let events: Vec<_> = placed.iter().map(Placed::event).collect();
        accept(backend, placed).await;
        report(backend, events.iter().map(|order| handed_over(order, &[1], 10, Some(1))).collect(), vec![]).await;
        orders.extend(events);
    }
    let mut published = std::collections::HashSet::new();
    while published.len() < orders.len() {
        let page = due(desk, 20, 256).await;
        assert!(page.due.len() + page.under_way as usize <= 256 && !page.due.is_empty());
        release(desk, &page.due, 20).await;
        assert_eq!(due(desk, 20, 256).await.due.len(), 0, "no more until some have ended");
        let fresh = placed(None);
        let event = fresh.event();
        accept(backend, vec![fresh]).await;
        report(backend, vec![], vec![outcome(&event, "north", OutcomeStatus::Delivered)]).await;
        let of = |wait: &DueWait| orders.iter().find(|order| order.order_id == wait.order_id).unwrap();
        let ends = page.due.iter().map(|wait| outcome(of(wait), "north", OutcomeStatus::Delivered)).collect();
        report(backend, vec![], ends).await;
        published.extend(page.due.iter().map(|wait| wait.order_id));
    }
    assert_eq!(due(desk, 20, 256).await.next, None);
    assert_eq!(desk.waiting("north".parse().unwrap()).await, Ok(0));
}

/// What waits is not missing. What was published again is found if that is long ago, and is published once more.
pub(crate) async fn what_waits_is_not_overdue_until_it_was_published_again(backend: &mut impl Backend, desk: &Desk) {
    let order = letters::order(backend).await;
    let position = desk.outbox(0, 1).await.unwrap()[0].position;
    backend.commit(&Batch { published_up_to: Some(position), ..Batch::default() }).await.unwrap();
    let marks = desk.published_marks().await.unwrap();
    let overdue = async |before| {
        desk.pending_published("north".parse().unwrap(), marks.clone(), time(before), 9).await.unwrap().total
    };
    report(backend, vec![progress(&order, &[1], 2)], vec![]).await;
    assert_eq!(overdue(0).await, 1, "a worker had it");
    report(backend, vec![handed_over(&order, &[2], 10, Some(2))], vec![]).await;
    assert_eq!(overdue(99).await, 0);
    release(desk, &due(desk, 10, 9).await.due, 10).await;
    assert_eq!((overdue(10).await, overdue(11).await), (0, 1));
    let delivery = (order.order_id, "north".parse().unwrap());
    let others = vec![delivery.clone(), (order.order_id, "south".parse().unwrap())];
    assert_eq!(desk.wait_again(others, time(12)).await.unwrap(), [delivery]);
    assert_eq!((overdue(99).await, due(desk, 12, 9).await.due[0].spent), (0, 2));
}

async fn listed(desk: &Desk, order: &OrderCreated) -> Vec<crate::DeadLetter> {
    let filter = Filter { order_id: Some(order.order_id), ..Filter::default() };
    desk.dead_letters(filter, None, 9).await.unwrap()
}

async fn collect(desk: &Desk, letter: &Collected) -> Collection {
    desk.collect(vec![Arc::new(letter.clone())], time(9)).await.unwrap().remove(0)
}

/// The dead letter is listed in the transaction of the report, and its copy from the queue is known.
pub(crate) async fn a_dead_letter_is_listed_with_its_report_and_once(backend: &mut impl Backend, desk: &Desk) {
    let order = letters::order(backend).await;
    let dead = outcome(&order, "north", OutcomeStatus::DeadLettered);
    report(backend, vec![], vec![dead.clone(), dead.clone()]).await;
    let letters = listed(desk, &order).await;
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(
        (letter.reason.clone(), &letter.attempts, letter.failed_at),
        (Reason::Rejected.into(), &dead.attempts, dead.settled_at)
    );
    assert_eq!((letter.key_used_at, letter.parent), (Some(dead.attempts[0].at), None));
    let content = desk.dead_letter(letter.id).await.unwrap().unwrap().content;
    assert_eq!((content.body, content.deaths.len()), (order.encode().unwrap(), 0));
    assert_eq!(content.properties["message_id"], order.event_id.0.to_string());
    assert!(content.headers.contains_key("traceparent"));

    let copy = super::dead_letters::letter(Some(&order), "north");
    let witnessed = Collection::Stored { id: letter.id, reason: Reason::Rejected.into(), changed: false };
    assert_eq!(collect(desk, &copy).await, witnessed);
    assert_eq!(collect(desk, &copy).await, Collection::Known);
    assert_eq!(desk.dead_letter(letter.id).await.unwrap().unwrap().content, copy.content);
    assert_eq!(listed(desk, &order).await.len(), 1);

    // Of an order that is not known here, only the queue can tell.
    let stranger = placed(None).event();
    report(backend, vec![], vec![outcome(&stranger, "north", OutcomeStatus::DeadLettered)]).await;
    assert_eq!(listed(desk, &stranger).await.len(), 0);
    let copy = super::dead_letters::letter(Some(&stranger), "north");
    assert!(matches!(collect(desk, &copy).await, Collection::Stored { reason, .. } if reason == Reason::Rejected));
}

/// What was sent again and is dead again continues its lineage, even if it has waited in between.
pub(crate) async fn a_redriven_dead_letter_is_listed_with_its_report_too(backend: &mut impl Backend, desk: &Desk) {
    let order = letters::order(backend).await;
    report(backend, vec![], vec![outcome(&order, "north", OutcomeStatus::DeadLettered)]).await;
    let first = listed(desk, &order).await[0].id;
    let request = RedriveRequest {
        selection: Selection::Filter(Filter::default()),
        origins: [("north".parse().unwrap(), None)].into(),
        force: false,
        new_key: false,
    };
    let (rate, stop_after_failed_share) = (50.0, 0.5);
    let terms =
        RedriveTerms { rate, concurrency: 9, stop_after_failed_share, body: None, new_key: false, idempotency: None };
    let Created::New(redrive) = desk.create_redrive(request, terms).await.unwrap() else { panic!("not created") };
    desk.take_redrive(redrive.id, 9).await.unwrap();
    desk.sent_redrives(vec![first]).await.unwrap();
    let wait = Progress { dead_letter: Some(first), ..handed_over(&order, &[], 10, Some(1)) };
    report(backend, vec![wait], vec![]).await;
    assert_eq!(due(desk, 10, 9).await.due[0].dead_letter, Some(first));
    let later = now() + SignedDuration::from_secs(60);
    let overdue = async || desk.pending_redriven("north".parse().unwrap(), later, 9).await.unwrap().total;
    assert_eq!(overdue().await, 0, "it waits");
    release(desk, &due(desk, 10, 9).await.due, 10).await;
    assert_eq!(overdue().await, 1);
    // Late progress of the first delivery is none of this one's.
    report(backend, vec![handed_over(&order, &[1], 20, Some(9))], vec![]).await;
    assert_eq!(due(desk, 99, 9).await.due.len(), 0);

    let dead = Outcome { dead_letter: Some(first), ..outcome(&order, "north", OutcomeStatus::DeadLettered) };
    report(backend, vec![], vec![dead]).await;
    let letters = listed(desk, &order).await;
    let [again] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((again.parent, again.redrives, due(desk, 99, 9).await.under_way), (Some(first), 1, 0));
    let state = desk.dead_letter(first).await.unwrap().unwrap().letter.state;
    assert_eq!(state, DeadLetterState::Redriven);
    let copy = super::dead_letters::letter_again(Some(&order), "north", Some(first));
    assert!(matches!(collect(desk, &copy).await, Collection::Stored { id, .. } if id == again.id));
    assert_eq!(desk.dead_letter(again.id).await.unwrap().unwrap().lineage.len(), 2);
}

/// In whatever order it is learned what became of a delivery: it is dead if and only if its dead letter is listed,
/// what was delivered stays delivered, and no end becomes pending again.
pub(crate) async fn no_end_is_taken_back(backend: &mut impl Backend, desk: &Desk) {
    let mut orders = vec![vec![]];
    for step in 0..4 {
        orders = orders
            .into_iter()
            .flat_map(|before: Vec<usize>| {
                (0..=before.len()).map(move |place| {
                    let mut with = before.clone();
                    with.insert(place, step);
                    with
                })
            })
            .collect();
    }
    assert_eq!(orders.len(), 24);
    for steps in orders {
        let order = letters::order(backend).await;
        let mut before = DeliveryStatus::Pending;
        for step in &steps {
            match step {
                0 => report(backend, vec![handed_over(&order, &[1], 10, Some(1))], vec![]).await,
                1 => report(backend, vec![], vec![outcome(&order, "north", OutcomeStatus::DeadLettered)]).await,
                2 => report(backend, vec![], vec![outcome(&order, "north", OutcomeStatus::Delivered)]).await,
                _ => drop(collect(desk, &super::dead_letters::letter(Some(&order), "north")).await),
            }
            let status = north(desk, &order).await.map_or(DeliveryStatus::Pending, |delivery| delivery.status());
            let letters = listed(desk, &order).await;
            assert_eq!(letters.len(), usize::from(status == DeliveryStatus::DeadLettered), "{steps:?}: {status:?}");
            match before {
                DeliveryStatus::Pending => {}
                DeliveryStatus::Delivered => assert_eq!(status, before, "{steps:?}"),
                DeliveryStatus::DeadLettered => assert_ne!(status, DeliveryStatus::Pending, "{steps:?}"),
            }
            before = status;
        }
        assert_eq!(before, DeliveryStatus::Delivered, "{steps:?}");
        assert!(due(desk, 99, 9).await.next.is_none(), "{steps:?}");
    }
}
