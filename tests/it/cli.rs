//! The command line: the real binary, against a real system and against an API that misbehaves on cue.

mod scripted;

use std::{ops::ControlFlow, process::Stdio};

use anyhow::{Context, Result, ensure};
use api::OrderStatus;
use serde_json::{Value, json};
use tests::{
    binaries::{self, Profile},
    fake_api::Behaviour,
    order::Order,
    ports::Port,
    system::{Role, System},
    waiting::{PATIENCE, until},
};
use tokio::{io::AsyncWriteExt as _, process::Command};

use self::scripted::{Reply, Scripted};

/// The exit code and output of a command.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }

    /// Items, one per line.
    fn items(&self) -> Result<Vec<Value>> {
        self.out.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// Runs `tandem` with these arguments, without a terminal.
async fn tandem(url: &str, arguments: &[&str]) -> Result<Ended> {
    tandem_with(url, arguments, "").await
}

/// The same, with this on its standard input.
async fn tandem_with(url: &str, arguments: &[&str], input: &str) -> Result<Ended> {
    let mut command = Command::new(binaries::build(Profile::Running)?.path("tandem")?);
    command.env_clear().env("TANDEM_URL", url).args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn()?;
    let mut stdin = running.stdin.take().context("a standard input")?;
    // A command that does not read its input closes it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, running.wait_with_output()).await.context("tandem does not end")??;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}

fn problem(status: u16) -> Reply {
    let body = json!({"type": "/problems/x", "title": "It is refused", "status": status, "detail": "for a reason",
                      "correlation_id": "c-7", "errors": [{"pointer": "/items/0/qty", "detail": "must be more"}]});
    Reply::Full(status, "application/problem+json", body.to_string())
}

fn order(status: &str) -> Value {
    json!({"order_id": "o-1", "correlation_id": "c-7", "customer_id": "c-1", "items": [{"product_id": "a", "qty": 1}],
           "status": status, "created_at": "2026-11-24T06:00:00Z",
           "deliveries": {"north": {"status": status, "reason": null, "attempts": [], "settled_at": null}}})
}

fn job(status: &str, delivered: u64, dead_lettered: u64) -> Value {
    json!({"id": "r-1", "status": status, "detail": null, "filter": null, "rate": 50.0, "concurrency": 100,
           "stop_after_failed_share": 0.5, "edited": false, "new_key": false, "matched": 3,
           "sent": delivered + dead_lettered, "delivered": delivered, "dead_lettered": dead_lettered, "cancelled": 0,
           "remaining": 3 - delivered - dead_lettered, "refused": [], "created_at": "2026-11-24T06:00:00Z",
           "updated_at": "2026-11-24T06:00:00Z"})
}

fn letter(id: u64) -> Value {
    json!({"id": format!("d-{id}"), "order_id": null, "destination": "north", "reason": "rejected", "status_code": 422,
           "error": null, "failed_at": "2026-11-24T06:00:00Z", "attempts": [], "redrives": 0, "archived": false})
}

fn plan(matched: u64) -> Value {
    json!({"matched": matched, "refused": [{"reason": "key_expired", "count": 2}], "sample": [letter(1)]})
}

#[tokio::test]
async fn an_order_is_placed_and_shown_as_the_api_shows_it() -> Result<()> {
    let system = System::start().await?;
    let url = system.producer()?.url().await?;
    let place =
        ["order", "place", "--customer-id", "c-1", "--item", "SKU-1=2", "--item", "SKU-2=1", "--output", "json"];
    let placed = tandem(&url, &place).await?;
    assert_eq!(placed.code, Some(0), "{placed:?}");
    let order_id = placed.json()?["order_id"].as_str().context("order_id")?.to_owned();
    let settled = system.wait_settled(&order_id).await?;

    let shown = tandem(&url, &["order", "get", &order_id, "--output", "json"]).await?;
    assert_eq!((shown.code, shown.json()?), (Some(0), serde_json::to_value(settled)?));
    let shown = tandem(&url, &["order", "get", &order_id]).await?;
    for words in [&*order_id, "delivered", "c-1", "2 × SKU-1, 1 × SKU-2", "inventory", "fulfillment", "200"] {
        assert!(shown.out.contains(words), "{words} is not in {}", shown.out);
    }
    assert!(!shown.out.contains('\x1b'), "no colours without a terminal");

    let unknown = tandem(&url, &["order", "get", "no-such-order"]).await?;
    assert_eq!((unknown.code, unknown.out.as_str()), (Some(1), ""));
    assert!(
        unknown.err.contains("No order has this id (404)") && unknown.err.contains("correlation id"),
        "{unknown:?}"
    );
    Ok(())
}

#[tokio::test]
async fn dead_letters_are_listed_grouped_shown_archived_and_unarchived() -> Result<()> {
    let system = System::start().await?;
    let url = system.producer()?.url().await?;
    for _ in 0..3 {
        let place = ["order", "place", "--customer-id", "c-1", "--item", "inventory-status-422=1"];
        assert_eq!(tandem(&url, &place).await?.code, Some(0));
    }
    let filter = ["--destination", "inventory", "--status-code", "422", "--reason", "rejected", "--from", "1h"];
    let list = [&["dead", "list", "--output", "json"], &filter[..]].concat();
    let collected = async || match tandem(&url, &list).await {
        Ok(listed) if listed.out.lines().count() == 3 => ControlFlow::Break(listed),
        other => ControlFlow::Continue(format!("{other:?}")),
    };
    let listed = until("three dead letters to be listed", PATIENCE, collected).await?.items()?;
    let groups = tandem(&url, &["dead", "groups", "--output", "json"]).await?.items()?;
    assert_eq!((groups.len(), &groups[0]["count"], &groups[0]["reason"]), (1, &json!(3), &json!("rejected")));
    let one = listed[0]["id"].as_str().context("id")?;
    let shown = tandem(&url, &["dead", "show", one]).await?;
    for words in ["422 rejected", "OrderCreated", "inventory-status-422", "inventory"] {
        assert!(shown.out.contains(words), "{words} is not in {}", shown.out);
    }

    assert_eq!(tandem(&url, &["dead", "archive", one, "--note", "seen"]).await?.code, Some(0));
    assert_eq!(tandem(&url, &list).await?.items()?.len(), 2);
    let archived = tandem(&url, &["dead", "list", "--archived", "--output", "json"]).await?.items()?;
    assert_eq!((archived.len(), &archived[0]["id"]), (1, &json!(one)));
    assert_eq!(tandem(&url, &["dead", "unarchive", one]).await?.code, Some(0));
    assert_eq!(tandem(&url, &list).await?.items()?.len(), 3);
    // A limit cuts the table short, and says so.
    let table = tandem(&url, &["dead", "list", "--limit", "2"]).await?;
    assert!(table.out.lines().count() == 3 && table.err.contains("there are more"), "{table:?}");
    Ok(())
}

#[tokio::test]
async fn two_commands_deliver_dead_letters_and_send_only_what_they_showed() -> Result<()> {
    let system = System::start().await?;
    let url = system.producer()?.url().await?;
    system.inventory_api.set_rule("out-of-stock", Behaviour::Status(422));
    let mut order_ids = Vec::new();
    for _ in 0..3 {
        let placed = system.place(&Order::of("out-of-stock")).await?;
        order_ids.push(placed.order_id);
    }
    let filter = ["--destination", "inventory", "--status-code", "422"];
    let plan = [&["redrive", "plan"], &filter[..]].concat();
    let planned = async || match tandem(&url, &plan).await {
        Ok(planned) if planned.out.starts_with("3 dead letters would be sent") => ControlFlow::Break(()),
        other => ControlFlow::Continue(format!("{other:?}")),
    };
    until("three dead letters to be planned", PATIENCE, planned).await?;

    // Still out of stock: they are dead letters again.
    let start = [&["redrive", "start", "--yes", "--watch", "--rate", "50"], &filter[..]].concat();
    let again = tandem(&url, &start).await?;
    assert_eq!(again.code, Some(3), "{again:?}");
    until("three dead letters to be planned", PATIENCE, planned).await?;
    // In stock.
    system.inventory_api.set_rule("out-of-stock", Behaviour::Fail(0));
    let sent = tandem(&url, &start).await?;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert!(sent.err.contains("3 dead letters would be sent again"), "{sent:?}");
    for order_id in &order_ids {
        assert_eq!(system.order(order_id).await?.status, OrderStatus::Delivered);
        let calls = system.inventory_api.calls_about(order_id);
        assert!(calls.iter().all(|call| call.idempotency_key == calls[0].idempotency_key), "one key every time");
    }
    assert_eq!(tandem(&url, &["redrive", "list", "--output", "json"]).await?.items()?.len(), 2);
    let none = tandem(&url, &["dead", "list"]).await?;
    assert_eq!((none.code, none.err.as_str()), (Some(0), "no dead letters\n"), "{none:?}");
    Ok(())
}

#[tokio::test]
async fn a_refused_order_prints_every_fault_and_the_correlation_id() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    let url = system.producer()?.url().await?;
    let file = r#"{"customer_id": "", "items": [{"product_id": "p", "qty": 0}]}"#;
    let refused = tandem_with(&url, &["order", "place", "--file", "-"], file).await?;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    for words in ["The order is not valid (422)", "- #/customer_id: ", "- #/items/0/qty: ", "correlation id "] {
        assert!(refused.err.contains(words), "{words} is not in {}", refused.err);
    }
    Ok(())
}

#[tokio::test]
async fn an_unreachable_api_exits_with_4_and_prints_the_key_to_retry_with() -> Result<()> {
    let port = Port::choose()?;
    let url = format!("http://me:hush-hush@127.0.0.1:{}", port.number());
    for arguments in [&["order", "get", "o-1"][..], &["dead", "list"], &["redrive", "plan", "--all"], &["doctor"]] {
        let ended = tandem(&url, arguments).await?;
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(format!("{ended:?}").contains("Connection refused"), "{ended:?}");
        assert!(!format!("{ended:?}").contains("hush-hush"), "{ended:?}");
    }
    let place = ["order", "place", "--customer-id", "c", "--item", "a=1", "--idempotency-key", "k-1"];
    let ended = tandem(&url, &place).await?;
    assert_eq!(ended.code, Some(4));
    assert!(ended.err.contains("sending once more") && ended.err.contains("--idempotency-key k-1"), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn an_order_whose_response_was_lost_is_sent_again_under_the_same_key() -> Result<()> {
    let api = Scripted::start(|number, _| match number {
        0 => Reply::Nothing,
        _ => Reply::json(202, &order("pending")),
    });
    let api = api.await?;
    let placed = tandem(&api.url(), &["order", "place", "--customer-id", "c", "--item", "a=1"]).await?;
    assert_eq!(placed.code, Some(0), "{placed:?}");
    let requests = api.requests();
    let keys: Vec<_> = requests.iter().map(|request| request.header("idempotency-key")).collect();
    assert!(keys.len() == 2 && keys[0].is_some() && keys[0] == keys[1], "{keys:?}");
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].json(), json!({"customer_id": "c", "items": [{"product_id": "a", "qty": 1}]}));
    Ok(())
}

#[tokio::test]
async fn the_exit_code_of_a_waiting_place_is_the_status_of_its_order() -> Result<()> {
    for (code, status) in [(0, "delivered"), (3, "partially_delivered"), (3, "dead_lettered"), (5, "pending")] {
        let response = if status == "pending" { 202 } else { 200 };
        let api = Scripted::start(move |_, _| Reply::json(response, &order(status))).await?;
        let place = ["order", "place", "--customer-id", "c", "--item", "a=1", "--wait", "1500ms"];
        let ended = tandem(&api.url(), &place).await?;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(api.requests()[0].header("prefer"), Some("wait=2"));
    }
    Ok(())
}

#[tokio::test]
async fn watching_an_order_resumes_after_a_lost_connection() -> Result<()> {
    let api = Scripted::start(|_, request| {
        let after = request.header("last-event-id");
        match (&*request.line, after) {
            ("GET /v1/orders/o-1/events", None) => Reply::BrokenStream(
                "event: attempt\nid: 1\ndata: {\"destination\": \"north\"}\n\nevent: attempt\nid: 2".to_owned(),
            ),
            ("GET /v1/orders/o-1/events", Some("1")) => Reply::BrokenStream(
                "event: delivered\nid: 2\ndata: {\"destination\": \"north\"}\n\nevent: settled\nid: 3\ndata: {}\n\n"
                    .to_owned(),
            ),
            ("GET /v1/orders/o-1", _) => Reply::json(200, &order("pending")),
            _ => problem(400),
        }
    });
    let api = api.await?;
    let watched = tandem(&api.url(), &["order", "watch", "o-1", "--output", "json"]).await?;
    let events: Vec<_> = watched.items()?.iter().map(|event| event["event"].clone()).collect();
    assert_eq!(events, ["attempt", "delivered", "settled"], "{watched:?}");
    // The exit code is that of the order, which is still pending here.
    assert_eq!(watched.code, Some(5), "{watched:?}");

    let unknown = Scripted::start(|_, _| problem(404)).await?;
    let watched = tandem(&unknown.url(), &["order", "watch", "o-2"]).await?;
    assert_eq!((watched.code, unknown.requests().len()), (Some(1), 1), "{watched:?}");
    Ok(())
}

#[tokio::test]
async fn lists_follow_cursors_up_to_the_limit() -> Result<()> {
    /// A page of up to 500 of 1,200 dead letters.
    fn page(line: &str) -> Reply {
        let parameter = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}="))?;
            rest.split('&').next()?.parse::<u64>().ok()
        };
        let (from, limit) = (parameter("cursor").unwrap_or(0), parameter("limit").unwrap_or(50));
        let to = (from + limit).min(1_200);
        let items: Vec<_> = (from..to).map(letter).collect();
        Reply::json(200, &json!({"items": items, "next_cursor": (to < 1_200).then(|| to.to_string())}))
    }
    let api = Scripted::start(|_, request| page(&request.line)).await?;
    let all = tandem(&api.url(), &["dead", "list", "--all", "--output", "json"]).await?.items()?;
    assert_eq!((all.len(), &all[1_199]["id"]), (1_200, &json!("d-1199")));
    assert_eq!(api.requests().len(), 3);

    let some = tandem(&api.url(), &["dead", "list", "--limit", "700", "--output", "json"]).await?;
    assert_eq!(some.items()?.len(), 700);
    assert!(some.err.contains("there are more"), "{}", some.err);
    let table = tandem(&api.url(), &["dead", "list", "--limit", "2"]).await?;
    let lines: Vec<_> = table.out.lines().collect();
    assert_eq!(lines.len(), 3, "{table:?}");
    assert!(
        lines[0].starts_with("DEAD LETTER  DESTINATION") && lines[2].starts_with("d-1          north"),
        "{table:?}"
    );

    let empty = Scripted::start(|_, _| Reply::json(200, &json!({"items": [], "next_cursor": null}))).await?;
    let none = tandem(&empty.url(), &["order", "list"]).await?;
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (Some(0), "", "no orders\n"));
    Ok(())
}

#[tokio::test]
async fn flags_become_the_filters_of_the_api() -> Result<()> {
    let api = Scripted::start(|_, _| Reply::json(200, &json!({"items": [], "next_cursor": null}))).await?;
    let flags = [
        "--destination",
        "north",
        "--reason",
        "rejected",
        "--status-code",
        "422",
        "--error",
        "no stock & more",
        "--order-id",
        "o-1",
        "--from",
        "2026-11-24T06:00:00Z",
        "--to",
        "2026-11-24T07:00:00Z",
        "--archived",
    ];
    for command in ["list", "groups"] {
        assert_eq!(tandem(&api.url(), &[&["dead", command], &flags[..]].concat()).await?.code, Some(0));
    }
    let wanted = "?destination=north&reason=rejected&status_code=422&error=no+stock+%26+more&order_id=o-1\
                  &from=2026-11-24T06%3A00%3A00Z&to=2026-11-24T07%3A00%3A00Z&archived=true&limit=50";
    let lines: Vec<_> = api.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(lines, ["GET /v1/dead-letters", "GET /v1/dead-letters:groups"].map(|path| format!("{path}{wanted}")));
    Ok(())
}

#[tokio::test]
async fn a_redrive_shows_its_plan_and_without_a_terminal_requires_yes() -> Result<()> {
    let api = Scripted::start(|_, request| {
        if request.json()["dry_run"] == true {
            return Reply::json(200, &plan(3));
        }
        match &*request.line {
            "POST /v1/redrives" => Reply::json(201, &job("running", 0, 0)),
            _ => Reply::json(200, &job("completed", 3, 0)),
        }
    });
    let api = api.await?;
    let start = ["redrive", "start", "--destination", "north", "--status-code", "422", "--rate", "50"];
    let refused = tandem(&api.url(), &start).await?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("--yes"));
    for nonsense in [&["redrive", "start", "--yes"][..], &["redrive", "plan", "d-1", "--all"]] {
        assert_eq!(tandem(&api.url(), nonsense).await?.code, Some(2));
    }
    assert!(api.requests().is_empty(), "nothing was sent");

    let planned = tandem(&api.url(), &["redrive", "plan", "--destination", "north"]).await?;
    assert_eq!(planned.code, Some(0));
    for words in ["3 dead letters would be sent again", "d-1  north  422 rejected", "refused: 2 × key_expired"] {
        assert!(planned.out.contains(words), "{words} is not in {planned:?}");
    }

    let started = tandem(&api.url(), &[&start[..], &["--yes", "--watch", "--output", "json"]].concat()).await?;
    assert_eq!((started.code, &started.json()?["status"]), (Some(0), &json!("completed")), "{started:?}");
    assert!(started.err.contains("3 dead letters would be sent again"), "{started:?}");
    let bodies: Vec<_> = api.requests().iter().map(|request| request.json()).collect();
    let filter = json!({"destination": "north", "status_code": 422});
    assert_eq!(bodies[1], json!({"filter": filter, "rate": 50, "dry_run": true}));
    assert_eq!(bodies[2], json!({"filter": filter, "rate": 50}));
    Ok(())
}

#[tokio::test]
async fn watching_a_redrive_that_stops_or_fails_exits_with_3() -> Result<()> {
    for (ended, code) in [
        (job("completed", 3, 0), 0),
        (job("completed", 2, 1), 3),
        (job("stopped", 1, 1), 3),
        (job("cancelled", 1, 0), 3),
    ] {
        let api = Scripted::start(move |number, _| match number {
            // The command waits while the producer restarts.
            1 => Reply::Nothing,
            2 => problem(503),
            0 | 3 => Reply::json(200, &job("running", 1, 0)),
            _ => Reply::json(200, &ended),
        });
        let api = api.await?;
        let watched = tandem(&api.url(), &["redrive", "watch", "r-1"]).await?;
        assert_eq!(watched.code, Some(code), "{watched:?}");
        assert!(watched.err.contains("running · 1 of 3 sent · 1 delivered"), "{watched:?}");
        assert!(watched.err.contains("trying again"), "{watched:?}");
    }
    Ok(())
}

#[tokio::test]
async fn on_a_terminal_a_redrive_asks_for_confirmation() -> Result<()> {
    let api = Scripted::start(|_, request| {
        let dry = request.json()["dry_run"] == true;
        if dry { Reply::json(200, &plan(3)) } else { Reply::json(201, &job("running", 0, 0)) }
    });
    let api = api.await?;
    let tandem = binaries::build(Profile::Running)?.path("tandem")?;
    let confirm = async |input: &str| {
        let mut command = Command::new("script");
        let line = format!("{} redrive start d-1", tandem.display());
        command.args(["-qec", &line, "/dev/null"]).env("TANDEM_URL", api.url()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = command.spawn()?;
        let mut stdin = running.stdin.take().context("a standard input")?;
        stdin.write_all(input.as_bytes()).await?;
        let output = tokio::time::timeout(PATIENCE, running.wait_with_output()).await.context("it does not end")??;
        drop(stdin);
        anyhow::Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    if Command::new("script").arg("--version").output().await.is_err() {
        eprintln!("skipped: there is no `script` to make a terminal");
        return Ok(());
    }
    for no in ["n\n", "\n"] {
        let (code, said) = confirm(no).await?;
        assert!(code == Some(1) && said.contains("[y/N]") && said.contains("nothing was sent"), "{code:?} {said}");
    }
    assert!(api.requests().iter().all(|request| request.json()["dry_run"] == true));
    let (code, said) = confirm("y\n").await?;
    assert!(code == Some(0) && said.contains("tandem redrive watch r-1"), "{code:?} {said}");
    ensure!(api.requests().last().is_some_and(|request| request.json() == json!({"ids": ["d-1"]})));
    Ok(())
}

#[tokio::test]
async fn a_closed_pipe_ends_a_list_quietly() -> Result<()> {
    // The list has no end: only the closed pipe ends it.
    let api = Scripted::start(|_, _| {
        let items: Vec<_> = (0..500).map(letter).collect();
        Reply::json(200, &json!({"items": items, "next_cursor": "more"}))
    });
    let api = api.await?;
    let tandem = binaries::build(Profile::Running)?.path("tandem")?;
    let mut shell = Command::new("bash");
    let line = format!("{} dead list --all | head -n 1; echo \"${{PIPESTATUS[0]}}\"", tandem.display());
    shell.args(["-c", &line]).env("TANDEM_URL", api.url()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, shell.output()).await.context("it does not end")??;
    assert!(output.stdout.ends_with(b"\n0\n"), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn the_doctor_examines_every_process_and_exits_with_3_on_errors() -> Result<()> {
    let mut system = System::start().await?;
    let url = system.producer()?.url().await?;
    let workers = [system.process(Role::Inventory)?.url().await?, system.process(Role::Fulfillment)?.url().await?];
    let doctor = ["doctor", "--worker", &workers[0], "--worker", &workers[1]];
    let ends_with = async |code: i32, words: &str| {
        let asked = async || match tandem(&url, &doctor).await {
            Ok(ended) if ended.code == Some(code) && ended.out.contains(words) => ControlFlow::Break(ended),
            other => ControlFlow::Continue(format!("{other:?}")),
        };
        until(&format!("a doctor that finds {words:?}"), PATIENCE, asked).await
    };
    let healthy = ends_with(0, "0 errors").await?;
    for words in ["producer", "worker-inventory", "worker-fulfillment", "3 processes: 0 errors, 0 warnings"] {
        assert!(healthy.out.contains(words), "{words} is not in {}", healthy.out);
    }
    // A worker is gone, and an order waits for it.
    system.terminate(Role::Inventory).await?;
    system.place(&Order::healthy()).await?;
    let queue = system.names.inventory();
    system.queues().await?.wait_for_depth(&queue, "an order", |depth| depth.ready == 1).await?;
    let broken = ends_with(3, "nobody consumes it, and 1 message waits in it").await?;
    let at = |words: &str| broken.out.find(words).with_context(|| format!("{words} is not in {}", broken.out));
    assert!(at("consumers")? < at("does not answer")?);
    at("→ start a worker for this destination")?;

    let json = tandem(&url, &[&doctor[..], &["--output", "json"]].concat()).await?.json()?;
    let processes = json["processes"].as_array().context("processes")?;
    let reached: Vec<_> = processes.iter().map(|process| process["unreachable"] == false).collect();
    assert_eq!(reached, [true, false, true]);
    Ok(())
}
