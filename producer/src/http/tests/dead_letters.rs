use common::{
    event::{Identity, now},
    outcome::Reason,
};
use serde_json::json;
use uuid::Uuid;

use super::*;
use store::{Collected, Collection, Content};

/// A dead letter of this destination: the id of its order, and its own.
async fn dead(bench: &Bench, destination: &str, error: Option<&str>, body: &[u8]) -> (Uuid, Uuid) {
    let order_id = Uuid::now_v7();
    let mut fingerprint = [0; 32];
    fingerprint[..16].copy_from_slice(order_id.as_bytes());
    let identity = Identity {
        event_id: common::event::EventId(Uuid::now_v7()),
        order_id: OrderId(order_id),
        correlation_id: CorrelationId::fresh(),
    };
    let letter = Collected {
        fingerprint,
        otherwise: None,
        origin: destination.parse().unwrap(),
        identity: Some(identity),
        reason: Some(Reason::DeliveryLimit),
        error: error.map(str::to_owned),
        died_at: now(),
        accepted_at: None,
        parent: None,
        report_by: now(),
        content: Content {
            body: body.to_vec(),
            headers: json!({"x-mine": {"$bytes": "/w=="}}).as_object().unwrap().clone(),
            properties: json!({"message_id": "m", "delivery_mode": 2}).as_object().unwrap().clone(),
            deaths: vec![json!({"reason": "delivery_limit"})],
        },
    };
    let collected = bench.desk.collect(vec![Arc::new(letter)], now()).await.unwrap();
    let [Collection::Stored { id, .. }] = collected[..] else { panic!("{collected:?}") };
    (order_id, id)
}

fn ids(answer: &Answer) -> Vec<Uuid> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn post(bench: &Bench, path: &str, body: &str) -> Answer {
    let request = Request::post(path).header("Content-Type", "application/json");
    bench.send(request.body(body.to_owned().into()).unwrap()).await
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_page_by_page() {
    let bench = Bench::new().await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.insert(0, dead(&bench, "inventory", None, b"{}").await.1);
    }
    assert_eq!(ids(&bench.get("/v1/dead-letters").await), expected);
    let (mut path, mut paged) = ("/v1/dead-letters?limit=2".to_owned(), Vec::new());
    for _ in 0..3 {
        let page = bench.get(&path).await;
        paged.extend(ids(&page));
        // What is added in the meantime comes before the first page.
        dead(&bench, "inventory", None, b"{}").await;
        path = format!("/v1/dead-letters?limit=2&cursor={}", page.json()["next_cursor"].as_str().unwrap_or_default());
    }
    assert_eq!((paged, path.as_str()), (expected, "/v1/dead-letters?limit=2&cursor="));
}

#[tokio::test]
async fn a_filter_is_read_strictly() {
    let bench = Bench::new().await;
    let (order_id, id) = dead(&bench, "inventory", Some("no Connection"), b"{}").await;
    let (_, other) = dead(&bench, "fulfillment", None, b"{}").await;
    for (query, expected) in [
        ("destination=inventory".to_owned(), vec![id]),
        ("reason=delivery_limit".to_owned(), vec![other, id]),
        ("reason=rejected".to_owned(), vec![]),
        ("error=CONN".to_owned(), vec![id]),
        (format!("order_id={order_id}"), vec![id]),
        ("to=2020-01-01T00:00:00Z".to_owned(), vec![]),
        ("from=2020-01-01T00:00:00Z&archived=false".to_owned(), vec![other, id]),
    ] {
        for path in ["/v1/dead-letters", "/v1/dead-letters:groups"] {
            let answer = bench.get(&format!("{path}?{query}")).await;
            let items = answer.json()["items"].as_array().unwrap().len();
            assert_eq!((answer.status.as_u16(), items), (200, expected.len()), "{path}?{query}");
        }
        assert_eq!(ids(&bench.get(&format!("/v1/dead-letters?{query}")).await), expected, "{query}");
    }
    for path in ["/v1/dead-letters", "/v1/dead-letters:groups"] {
        for bad in ["destination=A", "reason=x", "archived=1", "limit=0", "cursor=!", "status=dead", "error=a&error=b"]
        {
            let answer = bench.get(&format!("{path}?{bad}")).await;
            assert_refused(&answer, 400, "invalid-query");
            assert_eq!(answer.json()["errors"][0]["parameter"], bad.split_once('=').unwrap().0, "{bad}");
        }
    }
}

#[tokio::test]
async fn groups_count_each_cause_and_name_a_sample() {
    let bench = Bench::new().await;
    let mut last = Uuid::nil();
    for _ in 0..3 {
        last = dead(&bench, "inventory", Some("refused"), b"{}").await.1;
    }
    dead(&bench, "fulfillment", Some("refused"), b"{}").await;
    let groups = bench.get("/v1/dead-letters:groups?limit=1").await.json();
    assert_eq!((&groups["items"][0]["destination"], &groups["items"][0]["count"]), (&json!("fulfillment"), &json!(1)));
    let cursor = groups["next_cursor"].as_str().unwrap().to_owned();
    let groups = bench.get(&format!("/v1/dead-letters:groups?limit=1&cursor={cursor}")).await.json();
    let group = &groups["items"][0];
    assert_eq!((&group["reason"], &group["error"]), (&json!("delivery_limit"), &json!("refused")));
    assert_eq!((&group["count"], &group["sample_id"]), (&json!(3), &json!(last)));
    assert!(group["first_failed_at"].as_str() < group["last_failed_at"].as_str(), "{group}");
    assert_eq!(groups["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_everything_whatever_its_body_is() {
    let bench = Bench::new().await;
    let bodies: [(&[u8], &str, &str); 3] =
        [("{\"é\":1}".as_bytes(), "{\"é\":1}", "utf8"), (b"\xff\x00", "/wA=", "base64"), (b"", "", "utf8")];
    for (body, shown, encoding) in bodies {
        let (order_id, id) = dead(&bench, "inventory", None, body).await;
        let letter = bench.get(&format!("/v1/dead-letters/{id}")).await.json();
        assert_eq!(
            (&letter["id"], &letter["order_id"], &letter["state"]),
            (&json!(id), &json!(order_id), &json!("dead"))
        );
        assert_eq!((&letter["body"], &letter["body_encoding"]), (&json!(shown), &json!(encoding)));
        assert_eq!(letter["headers"], json!({"x-mine": {"$bytes": "/w=="}}));
        assert_eq!(letter["properties"], json!({"message_id": "m", "delivery_mode": 2}));
        assert_eq!(letter["deaths"], json!([{"reason": "delivery_limit"}]));
        assert_eq!((&letter["lineage"][0]["id"], &letter["redrives"]), (&json!(id), &json!(0)));
    }
}

#[tokio::test]
async fn an_archived_dead_letter_is_not_listed_until_it_is_put_back() {
    let bench = Bench::new().await;
    let (_, id) = dead(&bench, "inventory", None, b"{}").await;
    let path = format!("/v1/dead-letters/{id}");
    let archived = post(&bench, &format!("{path}/archive"), r#"{"note":"the customer knows"}"#).await;
    assert_eq!((archived.status.as_u16(), &archived.json()["archived"]), (200, &json!(true)));
    assert!(ids(&bench.get("/v1/dead-letters").await).is_empty());
    assert_eq!(ids(&bench.get("/v1/dead-letters?archived=true").await), [id]);
    assert_eq!(bench.get(&path).await.json()["note"], "the customer knows");

    let back = bench.send(Request::post(format!("{path}/unarchive")).body(Body::empty()).unwrap()).await;
    assert_eq!((back.status.as_u16(), &back.json()["archived"]), (200, &json!(false)));
    assert_eq!(ids(&bench.get("/v1/dead-letters").await), [id]);
    assert_eq!(bench.get(&path).await.json()["note"], Value::Null);
}

#[tokio::test]
async fn an_invalid_note_is_refused_and_changes_nothing() {
    let bench = Bench::new().await;
    let (_, id) = dead(&bench, "inventory", None, b"{}").await;
    let path = format!("/v1/dead-letters/{id}/archive");
    let long = format!(r#"{{"note":"{}"}}"#, "x".repeat(1_001));
    for (body, pointer) in [
        (r#"{"note":7}"#, "#/note"),
        (r#"{"note":""}"#, "#/note"),
        (&*long, "#/note"),
        ("[]", "#"),
        (r#"{"a":1}"#, "#/a"),
    ] {
        let answer = post(&bench, &path, body).await;
        assert_refused(&answer, 422, "invalid-note");
        assert_eq!(answer.faults()[0].0, pointer);
    }
    assert_refused(&post(&bench, &path, "{").await, 400, "malformed-json");
    let plain = Request::post(&path).header("Content-Type", "text/plain").body("{}".into()).unwrap();
    assert_refused(&bench.send(plain).await, 415, "unsupported-media-type");
    assert_eq!(ids(&bench.get("/v1/dead-letters").await), [id]);
}

#[tokio::test]
async fn an_unknown_or_malformed_id_of_a_dead_letter_is_not_found() {
    let bench = Bench::new().await;
    for id in [&*Uuid::now_v7().to_string(), "x", "%ff", "019b7cb24d5e7a319f6e2c8d5b1a7e40"] {
        assert_refused(&bench.get(&format!("/v1/dead-letters/{id}")).await, 404, "unknown-dead-letter");
        for verb in ["archive", "unarchive"] {
            assert_refused(
                &post(&bench, &format!("/v1/dead-letters/{id}/{verb}"), "{}").await,
                404,
                "unknown-dead-letter",
            );
        }
    }
}

#[tokio::test]
async fn a_dead_letter_that_is_being_sent_again_cannot_be_archived() {
    let bench = Bench::new().await;
    let (_, id) = dead(&bench, "inventory", None, b"{}").await;
    for (state, words) in [("redriving", "being sent"), ("redriven", "a later one"), ("delivered", "accepted")] {
        bench.scratch.set_state(id, state);
        for verb in ["archive", "unarchive"] {
            let answer = post(&bench, &format!("/v1/dead-letters/{id}/{verb}"), "{}").await;
            assert_refused(&answer, 409, "dead-letter-not-waiting");
            assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{answer:?}");
        }
        assert!(ids(&bench.get("/v1/dead-letters").await).is_empty());
        assert_eq!(bench.get(&format!("/v1/dead-letters/{id}")).await.json()["state"], state);
    }
}
