use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{columns::parse_entry, testing};

fn at(second: i64) -> Timestamp {
    testing::at(second)
}

fn attempt(second: i64, status_code: Option<u16>, spent: Option<bool>) -> Attempt {
    let error = status_code.is_none().then(|| "timed out".to_owned());
    Attempt { at: at(second), duration_ms: 1, status_code, error, answer: None, spent }
}

fn outcome(delivered: bool, dead_letter: Option<Uuid>) -> Outcome {
    let order = testing::order("c-1", 0).event();
    let attempts = vec![attempt(9, Some(503), None)];
    Outcome { dead_letter, attempts, settled_at: at(10), ..testing::ended(&order, "north", delivered) }
}

fn progress(seconds: &[i64], spent: Option<Option<u32>>) -> Progress {
    let order = testing::order("c-1", 0).event();
    Progress {
        event_id: order.event_id,
        order_id: order.order_id,
        correlation_id: order.correlation_id,
        destination: "north".parse().unwrap(),
        dead_letter: None,
        attempts: seconds.iter().map(|second| attempt(*second, Some(503), None)).collect(),
        next_attempt_at: at(60),
        handover: spent.map(|spent| Handover {
            event: "{}".to_owned(),
            traceparent: None,
            spent,
            unanswered: false,
            retry_until: at(3_600),
        }),
    }
}

#[test]
fn a_delivery_is_pending_while_it_waits_and_shows_its_attempts() {
    let (first, second) = (progress(&[1], None), progress(&[2], Some(Some(2))));
    let (mut delivery, taken) = Delivery::begin(Line::Waits(&first));
    assert_eq!((taken, delivery.status(), delivery.entry.next_attempt_at), (Taken::Noted, "pending", Some(at(60))));
    let Taken::HandedOver(wait) = delivery.take(Line::Waits(&second)) else { panic!("not handed over") };
    assert_eq!((wait.spent, wait.unanswered, delivery.entry.attempts.len()), (2, false, 2));
    let end = outcome(true, None);
    assert_eq!(delivery.take(Line::Ended(&end)), Taken::Ended(&end));
    assert_eq!((delivery.status(), delivery.entry.next_attempt_at), ("delivered", None));
    assert_eq!(delivery.entry.attempts.len(), 3);
}

#[test]
fn progress_takes_no_end_back() {
    for delivered in [true, false] {
        let (end, late) = (outcome(delivered, None), progress(&[1], Some(Some(1))));
        let (mut delivery, _) = Delivery::begin(Line::Ended(&end));
        assert_eq!(delivery.take(Line::Waits(&late)), Taken::Noted);
        assert_eq!(delivery.status(), end.status.as_str());
        assert_eq!((delivery.entry.attempts.len(), delivery.entry.next_attempt_at), (2, None));
    }
}

#[test]
fn a_worker_that_does_not_know_takes_the_count_from_the_ledger() {
    let mut first = progress(&[1, 2], None);
    first.attempts.push(attempt(3, None, Some(false)));
    let unknown = progress(&[], Some(None));
    let wait = |delivery: &mut Delivery| match delivery.take(Line::Waits(&unknown)) {
        Taken::HandedOver(wait) => (wait.spent, wait.unanswered),
        other => panic!("not handed over: {other:?}"),
    };
    let (mut delivery, _) = Delivery::begin(Line::Waits(&first));
    assert_eq!(wait(&mut delivery), (2, false));
    let timed_out = Progress { attempts: vec![attempt(4, None, None)], ..first.clone() };
    delivery.take(Line::Waits(&timed_out));
    assert_eq!(wait(&mut delivery), (3, true));

    // A redriven delivery begins anew.
    let letter = Some(Uuid::from_u128(7));
    let mut again =
        Delivery { redriven: letter, pending: true, ..Delivery::begin(Line::Ended(&outcome(false, None))).0 };
    let unknown = Progress { dead_letter: letter, ..progress(&[11], Some(None)) };
    let Taken::HandedOver(wait) = again.take(Line::Waits(&unknown)) else { panic!("not handed over") };
    assert_eq!(wait.spent, 1);
}

#[test]
fn a_delivery_under_redrive_ends_with_the_report_of_that_or_with_any_delivery() {
    let (mine, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
    let (first, _) = Delivery::begin(Line::Ended(&outcome(false, None)));
    let redriven = Delivery { pending: true, redriven: mine, ..first };
    let ends = |delivered, dead_letter| {
        matches!(redriven.clone().take(Line::Ended(&outcome(delivered, dead_letter))), Taken::Ended(_))
    };
    assert!(ends(false, mine));
    for dead_letter in [None, other] {
        assert!(!ends(false, dead_letter));
        assert!(ends(true, dead_letter));
        let stray = Progress { dead_letter, ..progress(&[20], Some(Some(1))) };
        assert_eq!(redriven.clone().take(Line::Waits(&stray)), Taken::Noted);
    }
}

#[test]
fn what_is_stored_and_cannot_be_read_is_replaced_but_no_end_is_taken_back() {
    let (end, late) = (outcome(false, None), progress(&[1], None));
    let stored = |pending, line| Delivery::stored(parse_entry("{}"), pending, None, &[line]);
    assert_eq!(stored(false, Line::Ended(&end)).unwrap().entry, (&end).into());
    assert_eq!(stored(true, Line::Waits(&late)).unwrap().entry, (&late).into());
    assert_eq!(stored(false, Line::Waits(&late)), None);
}

/// In whatever order lines come: what was delivered stays delivered, an end stays an end, and no attempt is lost.
#[test]
fn every_order_of_lines_ends_the_delivery_once_and_for_all() {
    let (handed_over, dead, delivered) = (progress(&[1], Some(Some(1))), outcome(false, None), outcome(true, None));
    let late = Progress { next_attempt_at: at(60) + SignedDuration::from_secs(1), ..progress(&[2], None) };
    let lines = [Line::Waits(&handed_over), Line::Waits(&late), Line::Ended(&dead), Line::Ended(&delivered)];
    for order in 0..4_usize.pow(4) {
        let picks: Vec<_> = (0..4).map(|place| order / 4_usize.pow(place) % 4).collect();
        let (mut delivery, _) = Delivery::begin(lines[picks[0]]);
        let mut before = delivery.status();
        for pick in &picks[1..] {
            delivery.take(lines[*pick]);
            let now = delivery.status();
            let allowed = match before {
                "pending" => true,
                "dead_lettered" => now != "pending",
                _ => now == "delivered",
            };
            assert!(allowed, "{before} and then {now}: {picks:?}");
            before = now;
        }
        let ended = |end: usize| picks.contains(&end);
        let expected = if ended(3) {
            "delivered"
        } else if ended(2) {
            "dead_lettered"
        } else {
            "pending"
        };
        assert_eq!(before, expected, "{picks:?}");
    }
}
