use super::*;

#[tokio::test]
async fn an_accepted_order_has_a_location_and_pending_deliveries() {
    let bench = Bench::new().await;
    let answer = bench.place(&[("X-Correlation-ID", "c\"0\\1")], VALID).await;
    assert_eq!(answer.status, 202);
    let body = answer.json();
    let order_id = body["order_id"].as_str().unwrap();
    assert_eq!(answer.header("Location").unwrap(), format!("/v1/orders/{order_id}"));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.header("Idempotency-Replayed"), None);
    let pending = r#"{"status":"pending","reason":null,"attempts":[],"settled_at":null}"#;
    let expected = format!(
        r#"{{"order_id":"{order_id}","correlation_id":"c\"0\\1","status":"pending","deliveries":{{"fulfillment":{pending},"inventory":{pending}}}}}"#
    );
    assert_eq!(std::str::from_utf8(&answer.body).unwrap(), expected);
}

#[tokio::test]
async fn what_was_sent_is_what_is_stored() {
    let bench = Bench::new().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("X-Correlation-ID", "shop-7"), ("Idempotency-Key", "\"k-1\""), ("traceparent", trace)];
    let answer = bench.place(&headers, VALID).await;
    assert_eq!(answer.header("X-Correlation-ID"), Some("shop-7"));
    let stored = &bench.outbox().await[0];
    assert_eq!(stored.order_id.to_string(), answer.json()["order_id"]);
    assert_eq!(stored.trace.to_string(), trace);
    let event = bench.event(stored.order_id).await;
    assert_eq!(event.customer_id.as_str(), "c-1");
    assert_eq!(event.items.as_slice()[0].product_id.as_str(), "p-1");
    assert_eq!(event.items.as_slice()[0].qty.get(), 2);
    assert_eq!(event.correlation_id.as_str(), "shop-7");
    let again = bench.place(&[("Idempotency-Key", "k-1")], VALID).await;
    assert_eq!(again.header("Idempotency-Replayed"), Some("true"), "the key is stored without its quotes");
}

#[tokio::test]
async fn without_headers_there_is_no_key_and_a_fresh_correlation_id() {
    let bench = Bench::new().await;
    let first = bench.place(&[], VALID).await;
    let second = bench.place(&[], VALID).await;
    assert_ne!(first.header("X-Correlation-ID"), second.header("X-Correlation-ID"));
    assert_eq!(first.json()["correlation_id"], first.header("X-Correlation-ID").unwrap());
    assert_eq!(bench.placed().await, 2);
    assert_eq!(bench.desk.sweep_keys(jiff::Timestamp::MAX, 100).await, Ok(0), "no key was stored");
}

#[tokio::test]
async fn an_order_sent_again_under_its_key_returns_the_first_one() {
    let bench = Bench::new().await;
    let first = bench.place(&[("Idempotency-Key", "k-1"), ("X-Correlation-ID", "first")], VALID).await;
    let spelled_otherwise = r#" {"items":[{"qty":2,"product_id":"\u0070-1"}],"customer_id":"c-1"}"#;
    let again = bench.place(&[("Idempotency-Key", "\"k-1\""), ("X-Correlation-ID", "again")], spelled_otherwise).await;
    assert_eq!(again.status, 202);
    assert_eq!(again.header("Idempotency-Replayed"), Some("true"));
    assert_eq!(again.header("Location"), first.header("Location"));
    assert_eq!(again.body, first.body);
    // The header names this request, the body the order's.
    assert_eq!(again.header("X-Correlation-ID"), Some("again"));
    assert_eq!(again.json()["correlation_id"], "first");
    assert_eq!(bench.placed().await, 1);
}

#[tokio::test]
async fn a_key_used_for_another_order_is_refused() {
    let bench = Bench::new().await;
    bench.place(&[("Idempotency-Key", "k-1")], VALID).await;
    let answer = bench.place(&[("Idempotency-Key", "k-1")], VALID.replace('2', "3")).await;
    assert_refused(&answer, 422, "idempotency-key-reused");
    assert_eq!(bench.placed().await, 1);
}

#[tokio::test]
async fn a_full_outbox_says_when_to_retry() {
    let bench = Bench::with_room_for(0).await;
    let answer = bench.place(&[], VALID).await;
    assert_refused(&answer, 503, "busy");
    assert_eq!(answer.header("Retry-After"), Some("1"));
}

#[tokio::test]
async fn a_failing_store_says_when_to_retry_and_not_what_failed() {
    let bench = Bench::new().await;
    bench.scratch.damage();
    let answer = bench.place(&[], VALID).await;
    assert_refused(&answer, 503, "store-unavailable");
    assert_eq!(answer.header("Retry-After"), Some("5"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("table"));
}

#[tokio::test]
async fn responses_are_counted_by_route_and_class_of_status() {
    let bench = Bench::with_room_for(1).await;
    bench.place(&[], VALID).await;
    bench.place(&[], "{").await;
    bench.place(&[], VALID).await;
    bench.get("/v1/orders/x").await;
    bench.get("/nowhere").await;
    bench.get("/docs").await;
    let counted = bench.metrics.encode();
    for line in [
        r#"tandem_http_requests_total{route="POST /v1/orders",status="2xx"} 1"#,
        r#"tandem_http_requests_total{route="POST /v1/orders",status="4xx"} 1"#,
        r#"tandem_http_requests_total{route="POST /v1/orders",status="5xx"} 1"#,
        r#"tandem_http_requests_total{route="GET /v1/orders/{order_id}",status="4xx"} 1"#,
        r#"tandem_http_requests_total{route="other",status="3xx"} 1"#,
        r#"tandem_http_requests_total{route="other",status="4xx"} 1"#,
        r#"tandem_http_request_duration_seconds_count{route="POST /v1/orders"} 3"#,
    ] {
        assert!(counted.contains(line), "{line} is not in\n{counted}");
    }
}
