use super::*;

impl Bench {
    async fn place_batch(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::post("/v1/orders:batch").header("Content-Type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }
}

fn keyed(key: &str, qty: u32) -> String {
    format!(r#"{{"idempotency_key":"{key}","customer_id":"c-1","items":[{{"product_id":"p-1","qty":{qty}}}]}}"#)
}

fn batch(orders: &[&str]) -> String {
    format!(r#"{{"orders":[{}]}}"#, orders.join(","))
}

#[tokio::test]
async fn each_order_of_a_batch_has_its_own_result_in_the_same_order() {
    let bench = Bench::new().await;
    let body = batch(&[VALID, &keyed("k", 0), &keyed("k", 1), &keyed("k", 1), &keyed("k", 2), "[]"]);
    let answer = bench.place_batch(&[("X-Correlation-ID", "shop-7")], body).await;
    assert_eq!(answer.status, 207);
    let answer = answer.json();
    let items = answer["items"].as_array().unwrap();
    let statuses: Vec<_> = items.iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 422, 202, 202, 422, 422]);
    assert_eq!(items[0]["order"]["correlation_id"], "shop-7");
    assert_eq!(items[0]["order"]["deliveries"]["inventory"]["status"], "pending");
    assert_eq!(items[1]["problem"]["errors"][0]["pointer"], "#/orders/1/items/0/qty");
    // Two under one key are one order.
    assert_eq!(items[2]["order"]["order_id"], items[3]["order"]["order_id"]);
    assert_eq!((items[2].get("replayed"), items[3]["replayed"].as_bool()), (None, Some(true)));
    assert_eq!(items[4]["problem"]["type"], "/problems/idempotency-key-reused");
    assert_eq!(items[5]["problem"]["errors"][0]["pointer"], "#/orders/5");
    assert_eq!(bench.placed().await, 2);
}

#[tokio::test]
async fn what_is_not_a_batch_is_refused_as_a_whole() {
    let bench = Bench::new().await;
    let whole = [
        (batch(&[VALID; 501]), 422, "invalid-batch"),
        (batch(&[]), 422, "invalid-batch"),
        (VALID.to_owned(), 422, "invalid-batch"),
        (batch(&[VALID, "{"]), 400, "malformed-json"),
        (batch(&[VALID, &"[".repeat(80)]), 400, "nested-too-deeply"),
    ];
    for (body, status, problem) in whole {
        assert_refused(&bench.place_batch(&[], body).await, status, problem);
    }
    assert_refused(&bench.place_batch(&[("Idempotency-Key", "k")], batch(&[VALID])).await, 400, "invalid-header");
    assert_eq!(bench.placed().await, 0);
    assert_eq!(bench.place_batch(&[], batch(&[VALID; 500])).await.status, 207);
    assert_eq!(bench.placed().await, 500);
}

#[tokio::test]
async fn a_batch_of_4_mib_is_accepted_and_a_byte_more_is_not() {
    let bench = Bench::new().await;
    let body = |bytes: usize| batch(&[VALID]) + &" ".repeat(bytes - batch(&[VALID]).len());
    assert_eq!(bench.place_batch(&[], body(4_194_304)).await.status, 207);
    let refused = bench.place_batch(&[], body(4_194_305)).await;
    assert_refused(&refused, 413, "body-too-large");
    assert!(refused.json()["detail"].as_str().unwrap().contains("4194304"));
}

#[tokio::test]
async fn a_full_outbox_refuses_each_order() {
    let bench = Bench::with_room_for(0).await;
    let answer = bench.place_batch(&[], batch(&[VALID, "7"])).await;
    let statuses =
        ["/items/0/status", "/items/1/status"].map(|at| answer.json().pointer(at).unwrap().as_u64().unwrap());
    assert_eq!((answer.status.as_u16(), statuses), (207, [503, 422]));
}

#[tokio::test]
async fn an_order_without_a_key_is_refused_if_keys_are_required() {
    let bench = Bench::with(Clients { key_required: true, ..CLIENTS }).await;
    assert_refused(&bench.place(&[], VALID).await, 400, "idempotency-key-required");
    assert_eq!(bench.place(&[("Idempotency-Key", "k-1")], VALID).await.status, 202);
    let answer = bench.place_batch(&[], batch(&[VALID, &keyed("k-2", 1)])).await.json();
    assert_eq!((&answer["items"][0]["status"], &answer["items"][1]["status"]), (&400.into(), &202.into()));
    assert_eq!(answer["items"][0]["problem"]["type"], "/problems/idempotency-key-required");
}
