use super::*;

#[tokio::test]
async fn an_order_is_shown_at_its_location() {
    let bench = Bench::new().await;
    let accepted = bench.place(&[("X-Correlation-ID", "first")], VALID).await;
    let location = accepted.header("Location").unwrap();
    let shown = bench.get(location).await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.header("Cache-Control"), Some("no-cache"));
    let order = shown.json();
    assert_eq!(order["order_id"], accepted.json()["order_id"]);
    assert_eq!(order["correlation_id"], "first");
    assert_eq!(order["customer_id"], "c-1");
    assert_eq!(order["items"], serde_json::json!([{"product_id": "p-1", "qty": 2}]));
    assert_eq!(order["status"], "pending");

    let head = bench.send(Request::head(location).body(Body::empty()).unwrap()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let length = shown.body.len().to_string();
    assert_eq!(head.header("Content-Length"), Some(length.as_str()));
}

#[tokio::test]
async fn an_unknown_or_malformed_id_of_an_order_is_not_found() {
    let bench = Bench::new().await;
    let accepted = bench.place(&[], VALID).await;
    let id = accepted.json()["order_id"].as_str().unwrap().to_owned();
    for other in [
        "019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40",
        "x",
        "%ff",
        "%00",
        "..",
        &id.replace('-', ""),
        &format!("{{{id}}}"),
        &format!("urn:uuid:{id}"),
        &format!("{id}%20"),
    ] {
        let answer = bench.get(&format!("/v1/orders/{}", other.replace(['{', '}'], "%7B"))).await;
        assert_refused(&answer, 404, "unknown-order");
    }
    assert_eq!(bench.get(&format!("/v1/orders/{}", id.to_uppercase())).await.status, 200);
}

#[tokio::test]
async fn a_store_that_fails_is_unavailable_and_the_cause_is_not_shown() {
    let bench = Bench::new().await;
    bench.scratch.damage();
    let answer = bench.get("/v1/orders/019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40").await;
    assert_refused(&answer, 503, "store-unavailable");
    assert!(!String::from_utf8_lossy(&answer.body).contains("table"));
}
