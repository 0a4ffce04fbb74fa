//! Dead letters.

use std::sync::Arc;

use common::{event::Identity, status::DeadLetterState, word::Word};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{Archiving, Collected, Collection, Content, Filter, LedgerEntry};

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn fingerprint() -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    fingerprint
}

fn identity(order: &OrderCreated) -> Identity {
    Identity { event_id: order.event_id, order_id: order.order_id, correlation_id: order.correlation_id.clone() }
}

/// A dead letter of an order that says nothing by itself, at second 0; its report is waited for until second 5.
pub(super) fn letter(order: Option<&OrderCreated>, destination: &str) -> Collected {
    letter_again(order, destination, None)
}

/// The same, of one that was sent again.
pub(super) fn letter_again(order: Option<&OrderCreated>, destination: &str, parent: Option<Uuid>) -> Collected {
    let origin = destination.parse().unwrap();
    let body = order.map_or(vec![0, 159, 255], |order| order.encode().unwrap());
    let ours = |order: &OrderCreated| crate::fingerprint::of_ours(&origin, order.event_id.0, parent, &body);
    Collected {
        fingerprint: order.map_or_else(fingerprint, ours),
        otherwise: None,
        origin,
        identity: order.map(identity),
        reason: None,
        error: None,
        died_at: time(0),
        accepted_at: order.map(|order| order.occurred_at),
        parent,
        report_by: time(5),
        content: Content {
            body,
            headers: json!({"a": {"$bytes": "AA=="}}).as_object().unwrap().clone(),
            properties: json!({"message_id": "m"}).as_object().unwrap().clone(),
            deaths: vec![json!({"reason": "rejected", "count": 1})],
        },
    }
}

async fn collect(desk: &Desk, letters: &[&Collected], at: i64) -> Vec<Collection> {
    let letters = letters.iter().map(|letter| Arc::new((*letter).clone())).collect();
    desk.collect(letters, time(at)).await.unwrap()
}

pub(super) async fn stored(desk: &Desk, letter: &Collected) -> Uuid {
    match collect(desk, &[letter], 9).await.as_slice() {
        [Collection::Stored { id, .. }] => *id,
        other => panic!("not stored: {other:?}"),
    }
}

async fn listed(desk: &Desk, filter: Filter) -> Vec<Uuid> {
    desk.dead_letters(filter, None, 500).await.unwrap().into_iter().map(|letter| letter.id).collect()
}

pub(super) async fn order(backend: &mut impl Backend) -> OrderCreated {
    let placed = placed(None);
    let order = placed.event();
    accept(backend, vec![placed]).await;
    order
}

/// What the ledger has of a delivery.
pub(super) async fn known(desk: &Desk, order: &OrderCreated, destination: &str) -> Option<LedgerEntry> {
    let known = desk.order(order.order_id).await.unwrap().unwrap();
    known.recorded.into_iter().map(|delivery| delivery.entry).find(|entry| entry.destination == destination)
}

/// A dead letter without a report ends its delivery, once.
pub(crate) async fn a_dead_letter_is_stored_once_and_ends_its_delivery(backend: &mut impl Backend, desk: &Desk) {
    let order = order(backend).await;
    let limit = Collected { reason: Some(Reason::DeliveryLimit), ..letter(Some(&order), "north") };
    let first = collect(desk, &[&limit, &limit], 0).await;
    let [Collection::Stored { id, reason: Word::Known(Reason::DeliveryLimit), changed: true }, Collection::Known] =
        first[..]
    else {
        panic!("{first:?}")
    };
    assert_eq!(collect(desk, &[&limit], 9).await, [Collection::Known]);

    let outcome = known(desk, &order, "north").await.unwrap();
    let dead = (Some(OutcomeStatus::DeadLettered), Some(Reason::DeliveryLimit.into()));
    assert_eq!((outcome.status, outcome.reason), dead);
    assert_eq!(outcome.settled_at, Some(time(0)));
    let opened = desk.dead_letter(id).await.unwrap().unwrap();
    assert_eq!(opened.content, limit.content);
    let letter = opened.letter;
    assert_eq!((letter.order_id, letter.state, letter.redrives), (Some(order.order_id), DeadLetterState::Dead, 0));
    assert_eq!((letter.failed_at, letter.key_used_at), (time(0), Some(order.occurred_at)));
    assert_eq!(desk.dead_letter(Uuid::now_v7()).await.unwrap(), None);

    // The other delivery settles the order.
    let south = outcome_of(&order, "south", OutcomeStatus::Delivered);
    assert_eq!(status(desk, &order).await, OrderStatus::Pending);
    backend.commit(&Batch { outcomes: vec![south], ..Batch::default() }).await.unwrap();
    assert_eq!(status(desk, &order).await, OrderStatus::PartiallyDelivered);
}

fn outcome_of(order: &OrderCreated, destination: &str, status: OutcomeStatus) -> Outcome {
    super::outcome(order, destination, status)
}

/// A report is waited for; after that the reason is that there was none, until one comes late.
pub(crate) async fn a_report_is_waited_for_and_corrects_when_it_comes_late(backend: &mut impl Backend, desk: &Desk) {
    let order = order(backend).await;
    let north = letter(Some(&order), "north");
    assert_eq!(collect(desk, &[&north], 4).await, [Collection::Waiting]);
    assert_eq!(known(desk, &order, "north").await, None);
    let collected = collect(desk, &[&north], 5).await;
    let [Collection::Stored { id, reason: Word::Known(Reason::Unreported), changed: true }] = collected[..] else {
        panic!("{collected:?}")
    };
    let mut late = outcome_of(&order, "north", OutcomeStatus::DeadLettered);
    // From before the dead letter was found, as reports are.
    late.settled_at = time(-1);
    late.attempts[0].error = Some("no stock".to_owned());
    backend.commit(&Batch { outcomes: vec![late.clone()], ..Batch::default() }).await.unwrap();
    assert_eq!(known(desk, &order, "north").await, Some((&late).into()));
    let letter = desk.dead_letter(id).await.unwrap().unwrap().letter;
    assert_eq!(
        (letter.state, letter.reason, letter.status_code),
        (DeadLetterState::Dead, Reason::Rejected.into(), Some(422))
    );
    assert_eq!((letter.attempts, letter.error.as_deref()), (late.attempts, Some("no stock")));
    assert_eq!(letter.failed_at, time(-1));

    let delivered = outcome_of(&order, "north", OutcomeStatus::Delivered);
    backend.commit(&Batch { outcomes: vec![delivered], ..Batch::default() }).await.unwrap();
    assert_eq!(desk.dead_letter(id).await.unwrap().unwrap().letter.state, DeadLetterState::Delivered);
    assert!(!listed(desk, Filter::default()).await.contains(&id));
}

/// A dead letter shows what the ledger knows of its delivery, and a copy of what was delivered is not listed.
pub(crate) async fn a_dead_letter_shows_what_the_ledger_knows(backend: &mut impl Backend, desk: &Desk) {
    let order = order(backend).await;
    let north = outcome_of(&order, "north", OutcomeStatus::DeadLettered);
    let south = outcome_of(&order, "south", OutcomeStatus::Delivered);
    backend.commit(&Batch { outcomes: vec![north.clone(), south], ..Batch::default() }).await.unwrap();
    let collected = collect(desk, &[&letter(Some(&order), "north"), &letter(Some(&order), "south")], 0).await;
    let [
        Collection::Stored { id, reason: Word::Known(Reason::Rejected), changed: false },
        Collection::Stored { id: copy, changed: false, .. },
    ] = collected[..]
    else {
        panic!("{collected:?}")
    };
    let found = desk.dead_letter(id).await.unwrap().unwrap().letter;
    assert_eq!((found.status_code, found.failed_at, &found.attempts), (Some(422), north.settled_at, &north.attempts));
    assert_eq!(found.key_used_at, Some(north.attempts[0].at));
    assert_eq!(desk.dead_letter(copy).await.unwrap().unwrap().letter.state, DeadLetterState::Delivered);
    assert_eq!(listed(desk, Filter { order_id: Some(order.order_id), ..Filter::default() }).await, [id]);

    // A body that cannot be read is not what was delivered, whatever order it names.
    let unreadable = Some(Reason::Unreadable);
    let stranger = Collected { fingerprint: fingerprint(), reason: unreadable, ..letter(Some(&order), "south") };
    let stranger = stored(desk, &stranger).await;
    assert!(listed(desk, Filter::default()).await.contains(&stranger));
    assert_eq!(known(desk, &order, "south").await.unwrap().status, Some(OutcomeStatus::Delivered));
}

/// A dead letter that names no order is kept too; twins are distinguished if possible.
pub(crate) async fn a_dead_letter_without_an_order_is_kept_too(_: &mut impl Backend, desk: &Desk) {
    let stranger = Collected { otherwise: Some(fingerprint()), ..letter(None, "north") };
    let again = Collected { otherwise: None, ..stranger.clone() };
    let twin = Collected { otherwise: Some(fingerprint()), ..stranger.clone() };
    let report = Collected {
        reason: Some(Reason::Unreadable),
        error: Some("unreadable: no JSON".to_owned()),
        ..letter(None, "outcomes")
    };
    let collected = collect(desk, &[&stranger, &again, &twin, &report], 0).await;
    assert!(
        matches!(
            collected[..],
            [
                Collection::Stored { reason: Word::Known(Reason::Unreported), changed: false, .. },
                Collection::Known,
                Collection::Stored { .. },
                Collection::Stored { reason: Word::Known(Reason::Unreadable), .. },
            ]
        ),
        "{collected:?}"
    );
    let of_reports = desk
        .dead_letters(Filter { destination: Some("outcomes".parse().unwrap()), ..Filter::default() }, None, 9)
        .await
        .unwrap();
    let [found] = of_reports.as_slice() else { panic!("{of_reports:?}") };
    assert_eq!((found.order_id, found.error.as_deref(), found.status_code), (None, Some("unreadable: no JSON"), None));
}

/// Each filter finds what matches, pages neither repeat nor skip, and groups count the same dead letters.
pub(crate) async fn dead_letters_are_found_and_counted_by_their_cause(backend: &mut impl Backend, desk: &Desk) {
    let mut ids = Vec::new();
    for (destination, status_code, error, answer, second) in [
        ("north", Some(422), None, Some("order 0199d0c4-5b1e has no stock"), 10),
        ("north", Some(422), None, Some("order 0199d0c4-6c2f has no stock"), 11),
        ("north", Some(500), None, None, 12),
        ("north", Some(500), None, Some(r#"{"title":"Down"}"#), 12),
        ("south", None, Some("100%_Refused\\"), None, 13),
        ("south", None, Some("refused"), None, 14),
    ] {
        let order = order(backend).await;
        let mut end = outcome_of(&order, destination, OutcomeStatus::DeadLettered);
        let reason = if status_code == Some(422) { Reason::Rejected } else { Reason::AttemptsExhausted };
        end.reason = Some(reason.into());
        end.settled_at = time(second);
        end.attempts[0].status_code = status_code;
        end.attempts[0].error = error.map(str::to_owned);
        end.attempts[0].answer = answer.map(str::to_owned);
        backend.commit(&Batch { outcomes: vec![end], ..Batch::default() }).await.unwrap();
        ids.push(stored(desk, &letter(Some(&order), destination)).await);
    }
    let all = Filter::default;
    for (filter, found) in [
        (all(), &[5, 4, 3, 2, 1, 0][..]),
        (Filter { destination: Some("north".parse().unwrap()), ..all() }, &[3, 2, 1, 0]),
        (Filter { reason: Some(Reason::AttemptsExhausted.into()), ..all() }, &[5, 4, 3, 2]),
        (Filter { status_code: Some(422), ..all() }, &[1, 0]),
        (Filter { error: Some("REFUSED".into()), ..all() }, &[5, 4]),
        (Filter { error: Some("%_refused\\".into()), ..all() }, &[4]),
        (Filter { error: Some("r%d".into()), ..all() }, &[]),
        (Filter { from: Some(time(11)), to: Some(time(13)), ..all() }, &[3, 2, 1]),
        (Filter { order_id: Some(OrderId::new()), ..all() }, &[]),
        (Filter { archived: true, ..all() }, &[]),
        (Filter { destination: Some("north".parse().unwrap()), status_code: Some(500), ..all() }, &[3, 2]),
    ] {
        let found: Vec<_> = found.iter().map(|&index: &usize| ids[index]).collect();
        assert_eq!(listed(desk, filter.clone()).await, found, "{filter:?}");
        let groups = desk.dead_letter_groups(filter.clone(), None, 500).await.unwrap();
        let counted: u64 = groups.iter().map(|group| group.count).sum();
        assert_eq!(usize::try_from(counted).unwrap(), found.len(), "{filter:?}");
    }
    let (mut before, mut paged) = (None, Vec::new());
    loop {
        let page = desk.dead_letters(all(), before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        paged.extend(page.into_iter().map(|letter| letter.id));
    }
    assert_eq!(paged, ids.iter().rev().copied().collect::<Vec<_>>());

    let groups = desk.dead_letter_groups(all(), None, 500).await.unwrap();
    let causes: Vec<_> = groups
        .iter()
        .map(|group| {
            (group.origin.as_str(), group.status_code, group.error.as_deref(), group.answer.as_deref(), group.count)
        })
        .collect();
    let expected = [
        ("north", Some(500), None, None, 1),
        ("north", Some(500), None, Some("Down"), 1),
        ("north", Some(422), None, Some("order … has no stock"), 2),
        ("south", None, Some("100%_Refused\\"), None, 1),
        ("south", None, Some("refused"), None, 1),
    ];
    assert_eq!(causes, expected);
    let twins = &groups[2];
    assert_eq!((twins.first_failed_at, twins.last_failed_at, twins.sample_id), (time(10), time(11), ids[1]));
    for at in 0..groups.len() {
        let rest = desk.dead_letter_groups(all(), Some(groups[at].sample_id), 500).await.unwrap();
        assert_eq!(rest, groups[at + 1..]);
    }
    assert_eq!(desk.dead_letter_groups(all(), None, 1).await.unwrap(), groups[..1]);
}

/// An archived dead letter leaves the list with its note, and comes back without it.
pub(crate) async fn an_archived_dead_letter_leaves_the_list_until_it_is_put_back(
    backend: &mut impl Backend,
    desk: &Desk,
) {
    let order = order(backend).await;
    let limit = Collected { reason: Some(Reason::DeliveryLimit), ..letter(Some(&order), "north") };
    let id = stored(desk, &limit).await;
    let before = known(desk, &order, "north").await;
    let Archiving::Done(letter) = desk.archive(id, Some("known".into())).await.unwrap() else { panic!("not archived") };
    assert_eq!((letter.id, letter.note.as_deref(), letter.archived_at.is_some()), (id, Some("known"), true));
    assert!(listed(desk, Filter::default()).await.is_empty());
    assert_eq!(listed(desk, Filter { archived: true, ..Filter::default() }).await, [id]);
    assert_eq!(desk.dead_letter(id).await.unwrap().unwrap().letter, *letter);
    assert_eq!(known(desk, &order, "north").await, before, "the delivery has not changed");

    let Archiving::Done(letter) = desk.unarchive(id).await.unwrap() else { panic!("not put back") };
    assert_eq!((letter.note, letter.archived_at), (None, None));
    assert_eq!(listed(desk, Filter::default()).await, [id]);
    assert_eq!(desk.archive(Uuid::now_v7(), None).await.unwrap(), Archiving::Unknown);

    let delivered = outcome_of(&order, "north", OutcomeStatus::Delivered);
    backend.commit(&Batch { outcomes: vec![delivered], ..Batch::default() }).await.unwrap();
    assert_eq!(desk.archive(id, None).await.unwrap(), Archiving::Elsewhere(DeadLetterState::Delivered));
}

/// A dead letter that came of another shows the whole lineage, and counts how often it was sent again.
pub(crate) async fn a_lineage_leads_to_the_first_failure(backend: &mut impl Backend, desk: &Desk) {
    let order = order(backend).await;
    let limit = Collected { reason: Some(Reason::DeliveryLimit), ..letter(Some(&order), "north") };
    let mut ids = vec![stored(desk, &limit).await];
    for _ in 0..3 {
        let accepted_at = Some(order.occurred_at + SignedDuration::from_secs(60));
        let again = Collected { parent: ids.last().copied(), fingerprint: fingerprint(), accepted_at, ..limit.clone() };
        ids.push(stored(desk, &again).await);
    }
    for (redrives, id) in (0_u32..).zip(&ids) {
        let opened = desk.dead_letter(*id).await.unwrap().unwrap();
        assert_eq!(opened.lineage.iter().map(|link| link.id).collect::<Vec<_>>(), ids);
        assert_eq!((opened.letter.redrives, opened.letter.key_used_at), (redrives, Some(order.occurred_at)));
    }
    // A parent that is not stored is ignored.
    let stranger = Collected { parent: Some(Uuid::new_v4()), fingerprint: fingerprint(), ..limit };
    let stranger = desk.dead_letter(stored(desk, &stranger).await).await.unwrap().unwrap();
    assert_eq!((stranger.letter.parent, stranger.letter.redrives, stranger.lineage.len()), (None, 0, 1));
}
