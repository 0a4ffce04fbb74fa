//! Waiting for the result. Time is the test's own: nothing here depends on how fast a machine is.

use std::future::Future;

use serde_json::json;
use tokio::time::Instant;

use super::{clock::Clock, *};

async fn elapsed<T>(what: impl Future<Output = T>) -> (T, u64) {
    let began = Instant::now();
    let done = what.await;
    (done, began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_gets_the_result_of_every_destination() {
    let (clock, bench) = (Clock::hold(), Bench::new().await);
    let outcomes = async {
        let order_id = bench.accepted(1).await;
        clock.pass(2).await;
        bench.record(order_id, "inventory", true).await;
        bench.until("tandem_http_looks_total", 1).await;
        clock.pass(3).await;
        bench.record(order_id, "fulfillment", false).await;
    };
    let headers = [("Prefer", "respond-async, wait=30"), ("Idempotency-Key", "k")];
    let ((answer, took), ()) = tokio::join!(elapsed(bench.place(&headers, VALID)), outcomes);
    assert_eq!((answer.status.as_u16(), took), (200, 5));
    assert_eq!(answer.header("Preference-Applied"), Some("wait=30"));
    assert_eq!(answer.header("Vary"), Some("Prefer"));
    let order = answer.json();
    assert_eq!(order["status"], "partially_delivered");
    assert_eq!(order["deliveries"]["inventory"]["status"], "delivered");
    assert_eq!(order["deliveries"]["fulfillment"]["status"], "dead_lettered");
    assert_eq!(answer.header("Location").unwrap(), format!("/v1/orders/{}", order["order_id"].as_str().unwrap()));
    assert_eq!(bench.looks(), 2, "one look for each change");

    // The order is settled already when it is placed again.
    let again = bench.place(&headers, VALID).await;
    assert_eq!((again.status.as_u16(), again.header("Idempotency-Replayed")), (200, Some("true")));
    assert_eq!(again.json(), order);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_waited_long_enough_gets_what_is_known() {
    let (clock, bench) = (Clock::hold(), Bench::new().await);
    let time = async {
        let order_id = bench.accepted(1).await;
        bench.record(order_id, "inventory", true).await;
        bench.until("tandem_http_looks_total", 1).await;
        clock.pass(7).await;
    };
    let ((answer, took), ()) = tokio::join!(elapsed(bench.place(&[("Prefer", "wait=7")], VALID)), time);
    assert_eq!((answer.status.as_u16(), took), (202, 7));
    assert_eq!(answer.header("Preference-Applied"), Some("wait=7"));
    let order = answer.json();
    assert_eq!(
        (&order["status"], &order["deliveries"]["inventory"]["status"]),
        (&json!("pending"), &json!("delivered"))
    );
    assert_eq!(bench.looks(), 2, "one for the change and one at the end");
    // A wait is cut to the longest allowed, and a wait of zero is none.
    for (count, prefer, applied, seconds) in [(2, "wait=1000000", "wait=60", 60), (3, "wait=\"0\"", "wait=0", 0)] {
        let time = async {
            bench.accepted(count).await;
            clock.pass(seconds).await;
        };
        let headers = [("Prefer", prefer)];
        let ((answer, took), ()) = tokio::join!(elapsed(bench.place(&headers, VALID)), time);
        assert_eq!((answer.status.as_u16(), took), (202, seconds));
        assert_eq!(answer.header("Preference-Applied"), Some(applied));
    }
    let plain = bench.place(&[("Prefer", "return=minimal")], VALID).await;
    assert_eq!((plain.status.as_u16(), plain.header("Preference-Applied"), plain.header("Vary")), (202, None, None));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_answered_at_once_if_as_many_wait_as_may() {
    let (clock, bench) = (Clock::hold(), Bench::with(Clients { waiters: 1, ..CLIENTS }).await);
    let waits = bench.place(&[("Prefer", "wait=20")], VALID);
    let another = async {
        bench.accepted(1).await;
        let (answer, took) = elapsed(bench.place(&[("Prefer", "wait=20")], VALID)).await;
        assert_eq!((answer.status.as_u16(), took, answer.header("Preference-Applied")), (202, 0, None));
        assert_eq!(bench.metric("tandem_http_waiting"), 1);
        clock.pass(20).await;
    };
    let ((answer, took), ()) = tokio::join!(elapsed(waits), another);
    assert_eq!((answer.status.as_u16(), took), (202, 20));
    // A client that was answered, or has left, no longer counts.
    assert_eq!(bench.metric("tandem_http_waiting"), 0);
    let gone = tokio::time::timeout(Duration::from_secs(1), bench.place(&[("Prefer", "wait=20")], VALID));
    let time = async {
        bench.accepted(3).await;
        clock.pass(1).await;
    };
    assert!(tokio::join!(gone, time).0.is_err());
    let time = async {
        bench.accepted(4).await;
        clock.pass(3).await;
    };
    assert_eq!(tokio::join!(elapsed(bench.place(&[("Prefer", "wait=3")], VALID)), time).0.1, 3);
}

#[tokio::test(start_paused = true)]
async fn every_client_that_waits_is_answered_when_the_process_ends() {
    let (_clock, bench) = (Clock::hold(), Bench::new().await);
    let end = async {
        bench.accepted(1).await;
        bench.shutdown.cancel();
    };
    let ((answer, took), ()) = tokio::join!(elapsed(bench.place(&[("Prefer", "wait=20")], VALID)), end);
    assert_eq!((answer.status.as_u16(), took), (202, 0));
}

#[tokio::test(start_paused = true)]
async fn an_order_is_shown_as_soon_as_it_is_settled() {
    let (clock, bench) = (Clock::hold(), Bench::new().await);
    let placed = bench.place(&[], VALID).await;
    let path = placed.header("Location").unwrap();
    let order_id = bench.last_placed().await;
    let get = |headers: &[(&'static str, &str)]| {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        bench.send(request.body(Body::empty()).unwrap())
    };
    let outcomes = async {
        bench.until("tandem_http_looks_total", 1).await;
        clock.pass(4).await;
        bench.record(order_id, "inventory", true).await;
        bench.record(order_id, "fulfillment", true).await;
    };
    let ((answer, took), ()) = tokio::join!(elapsed(get(&[("Prefer", "wait=10")])), outcomes);
    assert_eq!((answer.status.as_u16(), took, answer.json()["status"].as_str()), (200, 4, Some("delivered")));
    assert_eq!(answer.header("Preference-Applied"), Some("wait=10"));
    let tag = answer.header("ETag").unwrap();
    let (again, took) = elapsed(get(&[("Prefer", "wait=10"), ("If-None-Match", tag)])).await;
    assert_eq!((again.status.as_u16(), took, again.body.len()), (304, 0, 0));
    assert_eq!((again.header("ETag"), again.header("Vary")), (Some(tag), Some("Prefer")));
}

#[tokio::test]
async fn an_order_that_has_changed_has_another_tag() {
    let bench = Bench::new().await;
    let placed = bench.place(&[], VALID).await;
    let path = placed.header("Location").unwrap();
    let first = bench.get(path).await;
    let tag = first.header("ETag").unwrap();
    assert_eq!((first.header("Cache-Control"), bench.get(path).await.header("ETag")), (Some("no-cache"), Some(tag)));
    let asked = || bench.send(Request::get(path).header("If-None-Match", tag).body(Body::empty()).unwrap());
    assert_eq!(asked().await.status, 304);
    bench.record(bench.last_placed().await, "inventory", true).await;
    let changed = asked().await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("ETag"), Some(tag));
}
