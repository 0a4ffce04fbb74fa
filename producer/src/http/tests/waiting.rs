//! Waiting for the result. Time is the test's own: nothing here depends on how fast a machine is.

use std::future::Future;

use serde_json::json;
use tokio::{task::yield_now, time::Instant};

use super::*;
use common::status::DeliveryStatus;

fn ended(status: DeliveryStatus) -> Delivery {
    Delivery { status: status.into(), settled_at: Some(common::event::now()), ..Delivery::pending() }
}

fn deliveries(inventory: Delivery, fulfillment: Delivery) -> BTreeMap<String, Delivery> {
    [("inventory".to_owned(), inventory), ("fulfillment".to_owned(), fulfillment)].into()
}

/// Does something when an order is accepted and somebody waits.
async fn when_placed(bench: &Bench, then: impl AsyncFnOnce(OrderId)) {
    let order_id = loop {
        match bench.last_placed() {
            Some(order_id) => break order_id,
            None => yield_now().await,
        }
    };
    then(order_id).await;
}

async fn elapsed<T>(what: impl Future<Output = T>) -> (T, u64) {
    let began = Instant::now();
    let done = what.await;
    (done, began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_answered_with_the_result_of_every_destination() {
    let bench = Bench::new();
    let news = when_placed(&bench, async |order_id| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        bench.record(order_id, deliveries(ended(DeliveryStatus::Delivered), Delivery::pending()));
        tokio::time::sleep(Duration::from_secs(3)).await;
        bench.record(order_id, deliveries(ended(DeliveryStatus::Delivered), ended(DeliveryStatus::DeadLettered)));
    });
    let headers = [("Prefer", "respond-async, wait=30"), ("Idempotency-Key", "k")];
    let ((answer, took), ()) = tokio::join!(elapsed(bench.place(&headers, SOUND)), news);
    assert_eq!((answer.status.as_u16(), took), (200, 5));
    assert_eq!(answer.header("Preference-Applied"), Some("wait=30"));
    assert_eq!(answer.header("Vary"), Some("Prefer"));
    let order = answer.json();
    assert_eq!(order["status"], "partially_delivered");
    assert_eq!(order["deliveries"]["inventory"]["status"], "delivered");
    assert_eq!(order["deliveries"]["fulfillment"]["status"], "dead_lettered");
    assert_eq!(answer.header("Location").unwrap(), format!("/v1/orders/{}", order["order_id"].as_str().unwrap()));
    assert_eq!(bench.looks(), 2, "one look for each news");

    // The order is settled already when it is placed again.
    let again = bench.place(&headers, SOUND).await;
    assert_eq!((again.status.as_u16(), again.header("Idempotency-Replayed")), (200, Some("true")));
    assert_eq!(again.json(), order);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_enough_is_answered_with_what_is_known() {
    let bench = Bench::new();
    let news = when_placed(&bench, async |order_id| {
        bench.record(order_id, deliveries(ended(DeliveryStatus::Delivered), Delivery::pending()));
    });
    let ((answer, took), ()) = tokio::join!(elapsed(bench.place(&[("Prefer", "wait=7")], SOUND)), news);
    assert_eq!((answer.status.as_u16(), took), (202, 7));
    assert_eq!(answer.header("Preference-Applied"), Some("wait=7"));
    let order = answer.json();
    assert_eq!(
        (&order["status"], &order["deliveries"]["inventory"]["status"]),
        (&json!("pending"), &json!("delivered"))
    );
    assert_eq!(bench.looks(), 2, "one for the news and one at the end");
    // A wait is cut to the longest there is, and none is no wait.
    for (wished, applied, seconds) in [("wait=1000000", "wait=60", 60), ("wait=\"0\"", "wait=0", 0)] {
        let (answer, took) = elapsed(bench.place(&[("Prefer", wished)], SOUND)).await;
        assert_eq!((answer.status.as_u16(), took), (202, seconds));
        assert_eq!(answer.header("Preference-Applied"), Some(applied));
    }
    let plain = bench.place(&[("Prefer", "return=minimal")], SOUND).await;
    assert_eq!((plain.status.as_u16(), plain.header("Preference-Applied"), plain.header("Vary")), (202, None, None));
}

#[tokio::test(start_paused = true)]
async fn where_as_many_wait_as_may_the_answer_comes_at_once() {
    let bench = Bench::with(Clients { waiters: 1, ..CLIENTS });
    let waits = bench.place(&[("Prefer", "wait=20")], SOUND);
    let another = when_placed(&bench, async |_| {
        let (answer, took) = elapsed(bench.place(&[("Prefer", "wait=20")], SOUND)).await;
        assert_eq!((answer.status.as_u16(), took, answer.header("Preference-Applied")), (202, 0, None));
        assert!(bench.metrics.encode().contains("tandem_http_waiting 1\n"));
    });
    let ((answer, took), ()) = tokio::join!(elapsed(waits), another);
    assert_eq!((answer.status.as_u16(), took), (202, 20));
    // Who has been answered, or has left, has freed the place.
    assert!(bench.metrics.encode().contains("tandem_http_waiting 0\n"));
    let gone = tokio::time::timeout(Duration::from_secs(1), bench.place(&[("Prefer", "wait=20")], SOUND)).await;
    assert!(gone.is_err());
    assert_eq!(elapsed(bench.place(&[("Prefer", "wait=3")], SOUND)).await.1, 3);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_process_whoever_waits_is_answered_at_once() {
    let bench = Bench::new();
    let end = when_placed(&bench, async |_| bench.shutdown.cancel());
    let ((answer, took), ()) = tokio::join!(elapsed(bench.place(&[("Prefer", "wait=20")], SOUND)), end);
    assert_eq!((answer.status.as_u16(), took), (202, 0));
}

#[tokio::test(start_paused = true)]
async fn an_order_is_shown_as_soon_as_it_is_settled() {
    let bench = Bench::new();
    let placed = bench.place(&[], SOUND).await;
    let path = placed.header("Location").unwrap();
    let order_id = bench.last_placed().unwrap();
    let get = |headers: &[(&'static str, &str)]| {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        bench.send(request.body(Body::empty()).unwrap())
    };
    let news = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        bench.record(order_id, deliveries(ended(DeliveryStatus::Delivered), ended(DeliveryStatus::Delivered)));
    };
    let ((answer, took), ()) = tokio::join!(elapsed(get(&[("Prefer", "wait=10")])), news);
    assert_eq!((answer.status.as_u16(), took, answer.json()["status"].as_str()), (200, 4, Some("delivered")));
    assert_eq!(answer.header("Preference-Applied"), Some("wait=10"));
    let tag = answer.header("ETag").unwrap();
    let (again, took) = elapsed(get(&[("Prefer", "wait=10"), ("If-None-Match", tag)])).await;
    assert_eq!((again.status.as_u16(), took, again.body.len()), (304, 0, 0));
    assert_eq!((again.header("ETag"), again.header("Vary")), (Some(tag), Some("Prefer")));
}

#[tokio::test]
async fn an_order_that_has_changed_has_another_tag() {
    let bench = Bench::new();
    let placed = bench.place(&[], SOUND).await;
    let path = placed.header("Location").unwrap();
    let first = bench.get(path).await;
    let tag = first.header("ETag").unwrap();
    assert_eq!((first.header("Cache-Control"), bench.get(path).await.header("ETag")), (Some("no-cache"), Some(tag)));
    let asked = || bench.send(Request::get(path).header("If-None-Match", tag).body(Body::empty()).unwrap());
    assert_eq!(asked().await.status, 304);
    let order_id = bench.last_placed().unwrap();
    bench.record(order_id, deliveries(ended(DeliveryStatus::Delivered), Delivery::pending()));
    let changed = asked().await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("ETag"), Some(tag));
}
