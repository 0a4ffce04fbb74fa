use serde_json::json;

use super::*;

async fn post(bench: &Bench, path: &str, body: &Value) -> Answer {
    let request = Request::post(path).header("Content-Type", "application/json");
    bench.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn an_invalid_redrive_is_refused_with_the_pointer_of_each_fault() {
    let bench = Bench::new().await;
    for (body, pointer) in [
        (json!({}), "#"),
        (json!({"filter": {}, "ids": []}), "#/ids"),
        (json!({"filter": {"reasons": "rejected"}}), "#/filter/reasons"),
        (json!({"filter": {}, "rate": 5_001}), "#/rate"),
        (json!({"filter": {}, "stop_after_failed_share": -0.1}), "#/stop_after_failed_share"),
    ] {
        let answer = post(&bench, "/v1/redrives", &body).await;
        assert_refused(&answer, 422, "invalid-redrive");
        assert_eq!(answer.faults()[0].0, pointer, "{body}");
    }
    let request = Request::post("/v1/redrives").header("Content-Type", "application/json");
    let answer = bench.send(request.body(Body::from("{")).unwrap()).await;
    assert_refused(&answer, 400, "malformed-json");
    let answer = bench.send(Request::post("/v1/redrives").body(Body::from("{}")).unwrap()).await;
    assert_refused(&answer, 415, "unsupported-media-type");
}

#[tokio::test]
async fn a_redrive_of_nothing_sends_nothing_and_says_so() {
    let bench = Bench::new().await;
    let plan = post(&bench, "/v1/redrives", &json!({"filter": {}, "dry_run": true})).await;
    assert_eq!((plan.status.as_u16(), plan.json()), (200, json!({"matched": 0, "sample": [], "refused": []})));
    let answer = post(&bench, "/v1/redrives", &json!({"filter": {}})).await;
    assert_refused(&answer, 409, "nothing-to-redrive");
    let answer = post(&bench, "/v1/redrives", &json!({"ids": [uuid::Uuid::nil()]})).await;
    assert_refused(&answer, 409, "nothing-to-redrive");
    assert!(answer.json()["detail"].as_str().unwrap().contains("not_found"));
    assert_eq!(bench.get("/v1/redrives").await.json(), json!({"items": [], "next_cursor": null}));
    assert_refused(&bench.get("/v1/redrives?order=asc").await, 400, "invalid-query");
}

#[tokio::test]
async fn an_unknown_or_malformed_id_of_a_redrive_is_not_found() {
    let bench = Bench::new().await;
    for id in ["019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40", "x"] {
        assert_refused(&bench.get(&format!("/v1/redrives/{id}")).await, 404, "unknown-redrive");
        for control in ["pause", "resume", "cancel"] {
            let answer = post(&bench, &format!("/v1/redrives/{id}/{control}"), &json!({})).await;
            assert_refused(&answer, 404, "unknown-redrive");
        }
    }
}

#[tokio::test]
async fn reconciliation_is_empty_before_the_first_sweep() {
    let answer = Bench::new().await.get("/v1/reconciliation").await;
    let none = json!({"checked_at": null, "overdue": [], "overdue_total": 0, "detail": null});
    assert_eq!((answer.status.as_u16(), answer.json()), (200, none));
}
