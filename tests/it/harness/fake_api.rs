use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    fake_api::{Api, Behaviour, Call, Ended, FakeApi, Mode, Options},
    http,
    process::Program,
};

const A_WHILE: Duration = Duration::from_millis(150);

/// A caller that keeps to the contract.
struct Caller {
    http: reqwest::Client,
    url: String,
}

impl Caller {
    fn of(url: &str) -> Result<Self> {
        Ok(Self { http: http::client()?, url: url.to_owned() })
    }

    fn request(&self, api: Api, order_id: &str, product_id: &str) -> reqwest::RequestBuilder {
        let body = json!({"order_id": order_id, "customer_id": "c", "items": [{"product_id": product_id, "qty": 1}]});
        self.http
            .post(format!("{}{}", self.url, api.path()))
            .header("idempotency-key", format!("key-of-{order_id}"))
            .header("x-correlation-id", "correlation")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .header("x-partner-auth", "secret")
            .json(&body)
    }

    async fn status(&self, order_id: &str, product_id: &str) -> Result<u16, reqwest::Error> {
        self.request(Api::Inventory, order_id, product_id).send().await.map(|response| response.status().as_u16())
    }
}

fn start() -> Result<(FakeApi, Caller)> {
    let fake = FakeApi::start(Options { token: Some("secret".to_owned()), ..Options::default() })?;
    let caller = Caller::of(&fake.url())?;
    Ok((fake, caller))
}

fn statuses(calls: &[Call]) -> Vec<Option<u16>> {
    calls.iter().map(|call| call.status).collect()
}

#[tokio::test]
async fn one_key_has_one_effect_however_often_it_is_used() -> Result<()> {
    let (fake, caller) = start()?;
    for _ in 0..3 {
        assert_eq!(caller.status("a", "tea").await?, 200);
    }
    assert_eq!(caller.status("b", "tea").await?, 200);
    assert_eq!(caller.request(Api::Fulfillment, "a", "tea").send().await?.status(), 200);
    let summary = fake.summary();
    assert_eq!((summary.calls, summary.effects, summary.repeats), (5, 3, 2));
    assert_eq!((summary.inventory_effects, summary.fulfillment_effects), (2, 1));
    let calls = fake.calls_about("a");
    assert_eq!(calls.iter().map(|call| call.effect).collect::<Vec<_>>(), [true, false, false, true]);
    assert!(calls.windows(2).all(|pair| pair[0].body_sha256 == pair[1].body_sha256 && pair[0].at <= pair[1].at));
    assert_eq!(calls[0].correlation_id.as_deref(), Some("correlation"));
    assert!(calls[0].traceparent.is_some());
    Ok(())
}

#[tokio::test]
async fn one_key_with_two_bodies_is_refused_and_counted() -> Result<()> {
    let (fake, caller) = start()?;
    assert_eq!(caller.status("a", "tea").await?, 200);
    let other = caller.request(Api::Inventory, "b", "tea").header("idempotency-key", "key-of-a");
    let mut other = other.build()?;
    other.headers_mut().insert("idempotency-key", "key-of-a".parse()?);
    assert_eq!(caller.http.execute(other).await?.status(), 422);
    assert_eq!((fake.summary().mismatches, fake.summary().effects), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_call_that_breaks_the_contract_is_refused_and_recorded() -> Result<()> {
    let (fake, caller) = start()?;
    for (header, status) in
        [("x-partner-auth", 401), ("idempotency-key", 400), ("x-correlation-id", 400), ("content-type", 415)]
    {
        let mut request = caller.request(Api::Fulfillment, "a", "tea").build()?;
        request.headers_mut().remove(header);
        assert_eq!(caller.http.execute(request).await?.status(), status, "{header}");
    }
    let wrong = caller.http.post(format!("{}/api/new_order", caller.url)).header("x-partner-auth", "guess");
    assert_eq!(wrong.send().await?.status(), 401);
    let get = caller.http.get(format!("{}/api/new_order", caller.url));
    assert_eq!(get.send().await?.status(), 405);
    assert_eq!((fake.summary().refused, fake.summary().effects), (6, 0));
    assert!(fake.calls().iter().all(|call| call.refusal.is_some()));
    Ok(())
}

#[tokio::test]
async fn the_product_id_of_an_order_chooses_the_response() -> Result<()> {
    let (fake, caller) = start()?;
    for (product, expected) in [
        ("fail-2", vec![503, 503, 200, 200]),
        ("status-422", vec![422, 422]),
        ("inventory-status-404", vec![404]),
        ("fulfillment-status-404", vec![200]),
        ("retry-after-1", vec![429, 200]),
        ("redirect", vec![307]),
        ("unknown-1", vec![200]),
    ] {
        for status in expected {
            assert_eq!(caller.status(product, product).await?, status, "{product}");
        }
    }
    let response = caller.request(Api::Inventory, "again", "retry-after-7").send().await?;
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(fake.summary().redirects_followed, 0);
    Ok(())
}

#[tokio::test]
async fn a_connection_is_cut_before_or_after_acting() -> Result<()> {
    let (fake, caller) = start()?;
    let reset = caller.status("after", "cut-after-acting").await.unwrap_err();
    assert!(format!("{reset:?}").contains("ConnectionReset"), "{reset:?}");
    assert_eq!(fake.summary().effects, 1, "it acted");
    assert_eq!(caller.status("after", "cut-after-acting").await?, 200);
    assert_eq!(fake.summary().effects, 1, "only once");
    assert!(caller.status("before", "cut-1").await.is_err());
    assert_eq!(fake.summary().effects, 1, "it did not act");
    assert_eq!(caller.status("before", "cut-1").await?, 200);
    let ends: Vec<_> = fake.calls().iter().map(|call| call.ended).collect();
    assert_eq!(ends, [Ended::CutAfterActing, Ended::Answered, Ended::Cut, Ended::Answered]);
    Ok(())
}

#[tokio::test]
async fn responses_come_late_or_never() -> Result<()> {
    let (fake, caller) = start()?;
    let start = Instant::now();
    assert_eq!(caller.status("slow", "slow-150ms").await?, 200);
    assert!(start.elapsed() >= A_WHILE);
    tokio::select! {
        responded = caller.status("hang", "hang-1") => panic!("it responded: {responded:?}"),
        calls = fake.wait_for_calls("hang", 1) => assert_eq!(calls?.len(), 1),
    }
    assert_eq!(caller.status("hang", "hang-1").await?, 200);
    assert_eq!(statuses(&fake.calls_about("hang")), [None, Some(200)]);
    Ok(())
}

#[tokio::test]
async fn a_huge_body_is_huge() -> Result<()> {
    let (_fake, caller) = start()?;
    let mut response = caller.request(Api::Inventory, "a", "huge-body").send().await?;
    let mut read = 0;
    while read < 10_000_000 {
        read += response.chunk().await?.map(|chunk| chunk.len()).unwrap();
    }
    Ok(())
}

#[tokio::test]
async fn rules_and_modes_take_precedence_over_the_product_id() -> Result<()> {
    let (fake, caller) = start()?;
    fake.set_rule("tea", Behaviour::Status(418));
    assert_eq!(caller.status("a", "tea").await?, 418);
    fake.set_mode(Mode::Down);
    assert_eq!(caller.status("b", "fail-1").await?, 503);
    fake.set_mode(Mode::Hang);
    tokio::select! {
        responded = caller.status("c", "coffee") => panic!("it responded: {responded:?}"),
        calls = fake.wait_for_calls("c", 1) => assert_eq!(calls?.len(), 1),
    }
    fake.set_mode(Mode::Healthy);
    assert_eq!(caller.status("c", "coffee").await?, 200);
    Ok(())
}

#[tokio::test]
async fn random_failures_are_repeatable_and_of_every_kind() -> Result<()> {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let fake = FakeApi::start(Options { mode: Mode::Random(30), seed: 7, ..Options::default() })?;
        let caller = Caller::of(&fake.url())?;
        for order in 0..200 {
            let _ = caller.status(&order.to_string(), "tea").await;
        }
        runs.push(fake.calls().iter().map(|call| (call.ended, call.status)).collect::<Vec<_>>());
    }
    assert_eq!(runs[0], runs[1]);
    let count = |wanted: (Ended, Option<u16>)| runs[0].iter().filter(|end| **end == wanted).count();
    for end in [(Ended::Answered, Some(503)), (Ended::Cut, None), (Ended::CutAfterActing, None)] {
        assert!((5..40).contains(&count(end)), "{end:?}: {}", count(end));
    }
    Ok(())
}

#[tokio::test]
async fn waiting_for_calls_reports_what_was_seen_instead() -> Result<()> {
    let (fake, caller) = start()?;
    let (calls, status) = tokio::join!(fake.wait_for_calls("a", 1), caller.status("a", "tea"));
    assert_eq!((calls?.len(), status?), (1, 200));
    let fault = fake.wait_until("2 effects", A_WHILE, |fake| fake.summary().effects >= 2).await.unwrap_err();
    assert!(fault.to_string().contains("effects: 1"), "{fault}");
    Ok(())
}

#[tokio::test]
async fn the_binary_is_observed_and_controlled_over_http_and_keeps_a_log() -> Result<()> {
    let log = tests::binaries::target_directory()?.join(format!("fake-api-{}.jsonl", std::process::id()));
    let fake = Program::new(env!("CARGO_BIN_EXE_fake-api"))
        .env("HTTP_ADDR", "127.0.0.1:0")
        .env("FULFILLMENT_API_TOKEN", "secret")
        .arg("--log")
        .arg(&log)
        .start()?;
    let caller = Caller::of(&fake.url().await?)?;
    assert_eq!(caller.status("a", "tea").await?, 200);
    let down = caller.http.put(format!("{}/mode", caller.url)).body("down").send().await?;
    assert_eq!(down.status(), StatusCode::OK);
    assert_eq!(caller.status("b", "tea").await?, 503);
    assert_eq!(caller.http.put(format!("{}/mode", caller.url)).body("up").send().await?.status(), 400);
    let calls: Vec<Call> = fake.get("/calls?order_id=b").await?.json().await?;
    assert_eq!(statuses(&calls), [Some(503)]);
    let summary: Value = fake.get("/wait?effects=1").await?.json().await?;
    assert_eq!((&summary["calls"], &summary["effects"]), (&json!(2), &json!(1)));
    let times = fake.get("/first-times").await?.text().await?;
    assert!(times.lines().any(|line| line.starts_with("/api/deduct_stock,a,")), "{times}");
    fake.terminate()?;
    assert_eq!(fake.wait_exit().await?.code(), Some(0));
    let written = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    let written: Vec<Call> = written.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(statuses(&written), [Some(200), Some(503)]);
    Ok(())
}

#[tokio::test]
async fn the_binary_checks_the_health_of_a_running_one() -> Result<()> {
    let server = Program::new(env!("CARGO_BIN_EXE_fake-api")).env("HTTP_ADDR", "127.0.0.1:0").start()?;
    let address = server.http_addr().await?.to_string();
    let check = Program::new(env!("CARGO_BIN_EXE_fake-api")).arg("healthcheck").env("HTTP_ADDR", &address);
    assert_eq!(check.start()?.wait_exit().await?.code(), Some(0));
    server.kill9().await?;
    assert_eq!(check.start()?.wait_exit().await?.code(), Some(1));
    Ok(())
}
