use common::event::now;
use serde_json::{Map, json};
use uuid::Uuid;

use super::*;

const ID: u128 = 0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e40;

/// A dead letter with this body; `reason` is the broker's word.
fn dead(body: &[u8], reason: Option<&str>, message_id: Option<u128>, redelivered: bool) -> DeadLetter {
    let deaths = reason.map(|reason| json!({"reason": reason, "time": "2026-01-02T03:04:05Z"}));
    DeadLetter {
        body: body.to_vec(),
        redelivered,
        message_id: message_id.map(Uuid::from_u128),
        headers: json!({"x-delivery-count": usize::from(redelivered)}).as_object().unwrap().clone(),
        properties: Map::new(),
        deaths: deaths.into_iter().collect(),
    }
}

fn collected(dead: DeadLetter, origin: &str) -> Collected {
    read(dead, &origin.parse().unwrap(), now(), now())
}

fn event() -> Vec<u8> {
    let ids = (Uuid::from_u128(ID), Uuid::from_u128(ID + 1));
    json!({"event_type": "OrderCreated", "event_id": ids.0, "order_id": ids.1, "customer_id": "c", "correlation_id": "r",
        "items": [{"product_id": "p", "qty": 1}], "occurred_at": "2026-01-02T03:04:05Z"})
    .to_string()
    .into_bytes()
}

#[test]
fn the_reason_is_what_the_letter_tells_and_a_rejection_tells_nothing() {
    for (word, reason) in [
        (Some("rejected"), None),
        (Some("delivery_limit"), Some(Reason::DeliveryLimit)),
        (Some("expired"), Some(Reason::Unreported)),
        (Some("maxlen"), Some(Reason::Unreported)),
        (Some("new word"), Some(Reason::Unreported)),
        (None, Some(Reason::Unreported)),
    ] {
        let letter = collected(dead(&event(), word, Some(ID), false), "north");
        assert_eq!(letter.reason, reason, "{word:?}");
        assert_eq!(letter.identity.map(|identity| identity.order_id.0), Some(Uuid::from_u128(ID + 1)));
        let unreadable = collected(dead(b"none", word, Some(ID), false), "north");
        assert_eq!((unreadable.reason, unreadable.identity), (Some(Reason::Unreadable), None), "{word:?}");
        assert!(unreadable.error.unwrap().contains("not JSON"));
    }
}

#[test]
fn a_body_that_is_no_event_may_name_its_order() {
    let body =
        json!({"event_type": "OrderCreated", "event_id": Uuid::nil(), "order_id": Uuid::nil(), "correlation_id": "r"});
    let letter = collected(dead(body.to_string().as_bytes(), Some("rejected"), None, false), "north");
    assert_eq!((letter.reason, letter.identity.is_some()), (Some(Reason::Unreadable), true));
}

#[test]
fn what_died_in_the_queue_of_reports_names_no_order() {
    let letter = collected(dead(&event(), Some("rejected"), Some(ID), false), "outcomes");
    assert_eq!((letter.reason, letter.identity), (Some(Reason::Unreadable), None));
    let report = collected(dead(br#"{"outcomes":[]}"#, Some("delivery_limit"), None, false), "outcomes");
    assert_eq!(report.reason, Some(Reason::DeliveryLimit));
}

#[test]
fn the_same_letter_is_recognised_when_it_comes_again() {
    for id in [Some(ID), None] {
        let first = collected(dead(&event(), Some("rejected"), id, false), "north");
        let again = collected(dead(&event(), Some("rejected"), id, true), "north");
        assert_eq!((first.fingerprint, again.otherwise), (again.fingerprint, None));
        assert_eq!(first.otherwise.is_some(), id.is_none(), "a twin can only be told where there is no id");
    }
}

#[test]
fn letters_that_differ_are_told_apart() {
    let base = || dead(&event(), Some("rejected"), Some(ID), false);
    let mut redriven = base();
    redriven.headers.insert("x-tandem-dead-letter".into(), json!(Uuid::from_u128(7)));
    let prints = [
        collected(base(), "north"),
        collected(base(), "south"),
        collected(dead(b"other", Some("rejected"), Some(ID), false), "north"),
        collected(dead(&event(), Some("rejected"), Some(ID + 1), false), "north"),
        collected(dead(&event(), Some("rejected"), None, false), "north"),
        collected(redriven, "north"),
    ]
    .map(|letter| letter.fingerprint);
    for (index, print) in prints.iter().enumerate() {
        assert!(!prints[..index].contains(print), "{index}");
    }
}

#[test]
fn a_report_is_waited_for_while_it_may_still_come() {
    let time = |second: i64| Timestamp::from_second(1_767_323_045 + second).unwrap();
    let by = |since, now| {
        read(dead(&event(), Some("rejected"), Some(ID), false), &"north".parse().unwrap(), time(since), time(now))
            .report_by
    };
    // It died at second 0.
    assert_eq!(by(-100, 1), time(5));
    // It died before this process was there: reports wait in their queue too.
    assert_eq!(by(100, 101), time(105));
    // The clock of the broker is ahead.
    assert_eq!(by(-500, -300), time(-295));
    assert!(by(-100, 60) < time(60), "long ago");
}
