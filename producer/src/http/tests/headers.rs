use super::*;

#[tokio::test]
async fn a_correlation_id_is_echoed_on_every_response() {
    let bench = Bench::new().await;
    let longest = "x".repeat(128);
    for id in ["!~", "shop-7", longest.as_str()] {
        for (method, path) in [
            ("POST", "/v1/orders"),
            ("PATCH", "/v1/orders"),
            ("GET", "/v1/orders/x"),
            ("HEAD", "/v1/orders/x"),
            ("GET", "/nowhere"),
            ("GET", "/openapi.json"),
            ("GET", "/docs"),
            ("GET", "/docs/"),
            ("GET", "/problems/busy"),
        ] {
            let request = Request::builder().method(method).uri(path).header("x-correlation-id", id);
            let answer = bench.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.header("X-Correlation-ID"), Some(id), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_invalid_correlation_id_is_refused_and_not_echoed() {
    let bench = Bench::new().await;
    for (bad, detail) in [
        (&b""[..], "must not be empty"),
        (b"a b", "must consist of visible ASCII characters"),
        (b"a\tb", "must consist of visible ASCII characters"),
        ("ü".as_bytes(), "must consist of visible ASCII characters"),
        (b"\xff", "must consist of visible ASCII characters"),
        (&[b'x'; 129], "must have at most 128 characters, has 129"),
    ] {
        let request = Request::post("/v1/orders").header("content-type", "application/json");
        let request = request.header("X-Correlation-ID", bad).body(Body::from(VALID)).unwrap();
        let answer = bench.send(request).await;
        assert_refused(&answer, 400, "invalid-header");
        assert_eq!(answer.faults(), [("X-Correlation-ID".to_owned(), detail.to_owned())]);
        assert_eq!(answer.json()["detail"], format!("X-Correlation-ID {detail}"));
        assert_ne!(answer.headers["X-Correlation-ID"].as_bytes(), bad);
    }
    let request = Request::get("/v1/orders/x").header("X-Correlation-ID", "a b").body(Body::empty()).unwrap();
    assert_refused(&bench.send(request).await, 400, "invalid-header");
    assert_eq!(bench.placed().await, 0);
}

#[tokio::test]
async fn an_invalid_key_is_refused() {
    let bench = Bench::new().await;
    let too_long = "k".repeat(256);
    for (bad, detail) in [
        ("", "must not be empty"),
        ("\"\"", "must not be empty"),
        ("a b", "must consist of visible ASCII characters"),
        ("\"a", "must end with its closing quote"),
        ("\"a\\n\"", "must escape nothing but a quote or a backslash"),
        (too_long.as_str(), "must have at most 255 characters"),
    ] {
        let answer = bench.place(&[("Idempotency-Key", bad)], VALID).await;
        assert_refused(&answer, 400, "invalid-header");
        assert_eq!(answer.faults(), [("Idempotency-Key".to_owned(), detail.to_owned())]);
    }
    assert_eq!(bench.placed().await, 0);
}

#[tokio::test]
async fn a_header_that_may_be_given_once_is_refused_if_repeated() {
    let bench = Bench::new().await;
    for name in ["X-Correlation-ID", "Idempotency-Key", "Content-Type"] {
        let answer = bench.place(&[(name, "application/json"), (name, "application/json")], VALID).await;
        assert_refused(&answer, 400, "invalid-header");
        assert_eq!(answer.faults(), [(name.to_owned(), "must be given once".to_owned())]);
    }
}

#[tokio::test]
async fn a_trace_or_a_preference_is_never_a_reason_to_refuse() {
    let bench = Bench::new().await;
    for headers in [
        [("traceparent", "broken"), ("Prefer", "respond-async, wait=10")],
        [("traceparent", ""), ("Prefer", "\"")],
        [("traceparent", "ü"), ("Prefer", "wait=x;;, ,")],
    ] {
        assert_eq!(bench.place(&headers, VALID).await.status, 202);
    }
}
