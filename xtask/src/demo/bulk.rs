//! Many orders, while a worker is killed and started again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tests::{
    fake_api::{FakeApi, Mode},
    http,
    order::Order,
    system::{Role, System},
};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use super::{
    order_view::OrderView,
    screen::{Bars, Paint, Screen, count},
};

/// How many orders are placed, and how many a second.
const ORDERS: u64 = 2_000;
const RATE: u32 = 500;
/// The worker is killed when this many are accepted, and started again when that many are.
const KILLED_AT: u64 = ORDERS * 3 / 10;
const STARTED_AT: u64 = ORDERS * 6 / 10;
/// What the APIs take for an answer, so that calls are under way when the worker is killed.
const API_TAKES: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(60);
const REFRESH: Duration = Duration::from_millis(50);
/// Orders asked for at a time, and the pause before one is asked for again.
const ASKED_AT_ONCE: usize = 16;
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What became of the orders.
pub(super) struct Bulk {
    /// Those that were accepted, as they are shown at the end.
    pub(super) orders: Vec<OrderView>,
    /// What went wrong.
    pub(super) faults: Vec<String>,
}

/// The worker that is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Working,
    Killed,
    Back,
}

/// Orders on their way in.
struct Load {
    http: reqwest::Client,
    producer: String,
    posts: JoinSet<Result<String>>,
    placed: u64,
    accepted: Vec<String>,
    refused: Vec<anyhow::Error>,
}

/// What this part of the demo shows.
pub(super) fn heading() -> String {
    format!("{} orders, {RATE} a second; a worker is killed on the way", count(ORDERS))
}

/// Places them, kills a worker, starts it again, and waits until every order has ended.
///
/// # Errors
/// The worker cannot be killed or started, or an accepted order is not shown.
pub(super) async fn run(screen: Screen, system: &mut System) -> Result<Bulk> {
    let producer = system.producer()?.url().await?;
    let mut load = Load::new(http::client()?, producer);
    for api in [&system.inventory_api, &system.fulfillment_api] {
        api.set_mode(Mode::Slow(API_TAKES));
    }
    let mut bars = screen.bars(&["accepted", "inventory", "fulfillment"], ORDERS);
    let mut faults = Vec::new();
    if let Err(fault) = place_all(system, &mut load, &mut bars).await {
        faults.push(format!("{fault:#}"));
    }
    bars.finish();
    for api in [&system.inventory_api, &system.fulfillment_api] {
        api.set_mode(Mode::Healthy);
    }
    if let Some(first) = load.refused.first() {
        faults.push(format!("{} orders were not accepted; the first: {first:#}", count(load.refused.len() as u64)));
    }
    let orders = load.ask_for_all().await?;
    Ok(Bulk { orders, faults })
}

/// Places them all, with what happens meanwhile, until both APIs have been told of each.
async fn place_all(system: &mut System, load: &mut Load, bars: &mut Bars) -> Result<()> {
    let begun = Instant::now();
    let before = told(system);
    let mut victim = Victim::Working;
    let mut pace = interval(Duration::from_secs(1) / RATE);
    let mut refresh = interval(REFRESH);
    loop {
        tokio::select! {
            _ = pace.tick(), if load.placed < ORDERS => load.place(),
            Some(posted) = load.posts.join_next() => load.answered(posted?),
            _ = refresh.tick() => {
                let now = told(system);
                let (accepted, inventory, fulfillment) =
                    (load.accepted.len() as u64, now[0] - before[0], now[1] - before[1]);
                bars.set(&[accepted, inventory, fulfillment]);
                match victim {
                    Victim::Working if accepted >= KILLED_AT => {
                        victim = Victim::Killed;
                        let killed = system.kill9(Role::Inventory).await?;
                        let what = format!("worker killed with SIGKILL in mid-work (process {})", killed.pid());
                        bars.moment(Paint::Bad, "inventory", &what);
                    }
                    Victim::Killed if accepted >= STARTED_AT => {
                        victim = Victim::Back;
                        let pid = system.start_process(Role::Inventory, &[])?.pid();
                        let behind = count(accepted - inventory);
                        let what = format!("worker started again (process {pid}), {behind} orders behind");
                        bars.moment(Paint::Good, "inventory", &what);
                    }
                    _ => {}
                }
                let done = load.placed == ORDERS && load.posts.is_empty();
                if done && inventory.min(fulfillment) >= accepted {
                    bars.moment(Paint::Good, "both APIs", "told of every order");
                    return Ok(());
                }
                if begun.elapsed() > DEADLINE {
                    bail!(
                        "after {DEADLINE:?}, of {accepted} orders accepted, inventory was told of {inventory} and \
                         fulfillment of {fulfillment}"
                    );
                }
            }
        }
    }
}

/// How many orders each API has taken.
fn told(system: &System) -> [u64; 2] {
    [&system.inventory_api, &system.fulfillment_api].map(|api: &FakeApi| api.summary().effects)
}

impl Load {
    fn new(http: reqwest::Client, producer: String) -> Self {
        Self { http, producer, posts: JoinSet::new(), placed: 0, accepted: Vec::new(), refused: Vec::new() }
    }

    fn place(&mut self) {
        self.placed += 1;
        let order = Order::of(&format!("SKU-{}", self.placed));
        let post = self.http.post(format!("{}/v1/orders", self.producer)).json(&order);
        self.posts.spawn(async {
            let answer = post.send().await?;
            let status = answer.status();
            let body: serde_json::Value = answer.json().await?;
            if status != reqwest::StatusCode::ACCEPTED {
                bail!("{status} {body}");
            }
            body["order_id"].as_str().map(str::to_owned).context("the answer has no order_id")
        });
    }

    fn answered(&mut self, posted: Result<String>) {
        match posted {
            Ok(order_id) => self.accepted.push(order_id),
            Err(fault) => self.refused.push(fault),
        }
    }

    /// Every accepted order as it is shown when it has ended, or when time is up.
    async fn ask_for_all(self) -> Result<Vec<OrderView>> {
        let deadline = Instant::now() + DEADLINE;
        let mut shown = Vec::with_capacity(self.accepted.len());
        let mut asked = JoinSet::new();
        for order_id in self.accepted {
            if asked.len() >= ASKED_AT_ONCE
                && let Some(order) = asked.join_next().await
            {
                shown.push(order??);
            }
            let (http, producer) = (self.http.clone(), self.producer.clone());
            asked.spawn(async move {
                loop {
                    let order = OrderView::get(&http, &producer, &order_id).await?;
                    if order.is_settled() || Instant::now() > deadline {
                        return anyhow::Ok(order);
                    }
                    sleep(ASK_AGAIN).await;
                }
            });
        }
        while let Some(order) = asked.join_next().await {
            shown.push(order??);
        }
        Ok(shown)
    }
}
