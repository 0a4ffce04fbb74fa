use super::*;
use store::{Backend as _, Batch, testing::order};

#[tokio::test]
async fn orders_are_listed_page_by_page_as_they_are_shown() {
    let bench = Bench::new().await;
    let mut store = bench.scratch.writer();
    let orders: Vec<_> = (0..5).map(|number| order("c-1", number)).collect();
    let ids: Vec<_> = orders.iter().rev().map(|placed| placed.order_id.to_string()).collect();
    store.commit(&Batch { orders, ..Batch::default() }).await.unwrap();
    let mut seen = Vec::new();
    let mut path = "/v1/orders?limit=2&customer_id=c-1&status=pending&destination=north".to_owned();
    loop {
        let answer = bench.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.header("Cache-Control")), (200, Some("no-store")));
        let page = answer.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|order| order["order_id"].as_str().unwrap().to_owned()));
        assert_eq!(items[0]["deliveries"]["south"]["status"], "pending");
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/orders?limit=2&customer_id=c-1&cursor={cursor}");
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn an_invalid_query_is_refused_with_the_names_of_its_parameters() {
    let bench = Bench::new().await;
    let answer = bench
        .get("/v1/orders?status=done&destination=A&customer_id=&from=x&to=2026-01-01&limit=0&cursor=x&page=2")
        .await;
    assert_refused(&answer, 400, "invalid-query");
    let named: Vec<_> =
        answer.json()["errors"].as_array().unwrap().iter().map(|fault| fault["parameter"].clone()).collect();
    assert_eq!(named, ["status", "destination", "customer_id", "from", "to", "limit", "cursor", "page"]);
    let answer = bench.get("/v1/orders?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z").await;
    assert_refused(&answer, 400, "invalid-query");
}
