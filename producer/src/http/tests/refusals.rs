use super::*;

#[tokio::test]
async fn each_fault_of_an_order_is_named_with_its_pointer_and_nothing_is_stored() {
    let bench = Bench::new().await;
    for (body, faults) in [
        (r#"{"items":[{"product_id":"p","qty":1}]}"#, vec![("#/customer_id", "is required")]),
        (r#"{"customer_id":"c"}"#, vec![("#/items", "is required")]),
        (
            r#"{"customer_id":7,"items":[{"product_id":"p","qty":1}]}"#,
            vec![("#/customer_id", "must be a string, is a number")],
        ),
        (r#"{"customer_id":"c","items":[]}"#, vec![("#/items", "must have between 1 and 1000 items, has 0")]),
        (
            r#"{"customer_id":"c","items":[{"product_id":"p","qty":0}]}"#,
            vec![("#/items/0/qty", "must be between 1 and 1000000")],
        ),
        (
            r#"{"customer_id":"c","items":[{"product_id":"p","qty":1,"price":2}]}"#,
            vec![("#/items/0/price", "is not a known field; known are product_id and qty")],
        ),
        (
            r#"{"customer_id":"","items":[{"qty":"1"},null]}"#,
            vec![
                ("#/customer_id", "must not be empty"),
                ("#/items/0/qty", "must be a whole number, is a string"),
                ("#/items/0/product_id", "is required"),
                ("#/items/1", "must be an object, is null"),
            ],
        ),
    ] {
        let answer = bench.place(&[], body).await;
        assert_refused(&answer, 422, "invalid-order");
        let found = answer.faults();
        let found: Vec<_> = found.iter().map(|(pointer, detail)| (pointer.as_str(), detail.as_str())).collect();
        assert_eq!(found, faults, "{body}");
    }
    assert_eq!(bench.placed().await, 0);
}

#[tokio::test]
async fn faults_beyond_the_list_are_counted_in_the_response() {
    let bench = Bench::new().await;
    let zeros = vec!["0"; 1_001].join(",");
    let answer = bench.place(&[], format!(r#"{{"customer_id":"c","items":[{zeros}]}}"#)).await;
    assert_refused(&answer, 422, "invalid-order");
    assert_eq!(answer.faults().len(), 20);
    assert_eq!(answer.json()["errors_omitted"], 982);
    assert_eq!(answer.json()["detail"], "the order has 1002 faults, the first 20 are listed");
}

#[tokio::test]
async fn malformed_json_is_named_with_line_and_column() {
    let bench = Bench::new().await;
    for (body, detail) in [
        (&b""[..], "the body is empty"),
        (b"{\"customer_id\":}", "expected value at line 1 column 16"),
        (b"{\"customer_id\":\"\xff\"}", "invalid unicode code point at line 1 column 17"),
        (b"{} x", "trailing characters at line 1 column 4"),
    ] {
        let answer = bench.place(&[], body).await;
        assert_refused(&answer, 400, "malformed-json");
        assert_eq!(answer.json()["detail"], detail);
    }
}

#[tokio::test]
async fn deep_nesting_has_its_own_problem() {
    let bench = Bench::new().await;
    for depth in [65, 127, 128, 10_000] {
        assert_refused(&bench.place(&[], "[".repeat(depth)).await, 400, "nested-too-deeply");
    }
}

#[tokio::test]
async fn only_json_is_accepted() {
    let bench = Bench::new().await;
    let send = async |content_type: &str| {
        let request = Request::post("/v1/orders").header("Content-Type", content_type);
        bench.send(request.body(Body::from(VALID)).unwrap()).await
    };
    let valid = [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
        "application/json ;x",
    ];
    for media_type in valid {
        assert_eq!(send(media_type).await.status, 202, "{media_type}");
    }
    let others =
        ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/vnd.api+json", "*/*"];
    for other in others {
        assert_refused(&send(other).await, 415, "unsupported-media-type");
    }
    let bare = bench.send(Request::post("/v1/orders").body(Body::from(VALID)).unwrap()).await;
    assert_refused(&bare, 415, "unsupported-media-type");
    assert_refused(&bench.place(&[("Content-Encoding", "gzip")], VALID).await, 415, "unsupported-media-type");
    assert_eq!(bench.place(&[("Content-Encoding", "identity")], VALID).await.status, 202);
    assert_eq!(bench.placed().await, valid.len() as u64 + 1);
}

#[tokio::test]
async fn an_unsupported_method_is_refused_with_the_supported_ones() {
    let bench = Bench::new().await;
    for (method, path, allowed) in [
        ("GET", "/v1/orders:batch", "POST"),
        ("PUT", "/v1/orders", "POST,GET,HEAD"),
        ("OPTIONS", "/v1/orders", "POST,GET,HEAD"),
        ("BREW", "/v1/orders", "POST,GET,HEAD"),
        ("POST", "/v1/events", "GET,HEAD"),
        ("DELETE", "/v1/orders/019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40", "GET,HEAD"),
        ("POST", "/v1/orders/x", "GET,HEAD"),
        ("POST", "/openapi.json", "GET,HEAD"),
        ("POST", "/docs/", "GET,HEAD"),
    ] {
        // The document lists no operation for these, so nothing but the answer itself is checked.
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = bench.send(request).await;
        assert_refused(&answer, 405, "method-not-allowed");
        assert_eq!(answer.header("Allow"), Some(allowed), "{method} {path}");
    }
    let head = Request::head("/v1/orders:batch").body(Body::empty()).unwrap();
    let answer = bench.send(head).await;
    assert_eq!((answer.status.as_u16(), answer.header("Allow")), (405, Some("POST")));
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_too() {
    let bench = Bench::new().await;
    for path in [
        "/",
        "/v1",
        "/v1/orders/",
        "/v1/orders/a/b",
        "/v2/orders",
        "/V1/orders",
        "//v1/orders",
        "/v1/orders/%ff/x",
        "/docs/nothing.js",
        "/docs/../openapi.json",
        "/problems/nothing",
    ] {
        assert_refused(&bench.get(path).await, 404, "unknown-path");
    }
}
