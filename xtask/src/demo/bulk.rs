//! Many orders, while a worker is killed and started again, and an API fails for ten seconds.

use std::time::Duration;

use anyhow::{Result, bail};
use console::style;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::HumanCount;
use tests::{
    fake_api::Mode,
    http,
    order::Order,
    system::{Role, System},
};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use super::screen::Bars;

/// How many orders are placed, and how many per second.
const ORDERS: u64 = 5_000;
const RATE: u32 = 500;
/// The worker is killed when this many are accepted, and started again when that many are.
const KILLED_AT: u64 = ORDERS / 10;
const STARTED_AT: u64 = ORDERS * 2 / 10;
/// The other API fails when this many are accepted, and for so long.
const ILL_AT: u64 = ORDERS * 3 / 10;
const ILL_FOR: Duration = Duration::from_secs(10);
/// How long an API takes to answer, so that calls are in flight when the worker is killed.
const API_TAKES: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(60);
const REFRESH: Duration = Duration::from_millis(50);
/// How many orders are read at a time, and the pause before one is read again.
const READ_AT_ONCE: usize = 16;
const READ_AGAIN: Duration = Duration::from_millis(100);

/// What became of the orders.
pub(super) struct Bulk {
    /// The accepted ones, as shown at the end.
    pub(super) orders: Vec<api::Order>,
    /// What went wrong.
    pub(super) faults: Vec<String>,
}

/// The worker that is killed.
#[derive(Clone, Copy)]
enum Victim {
    Working,
    Killed,
    Back,
}

/// The API that fails.
#[derive(Clone, Copy)]
enum Patient {
    Well,
    /// Since then, and whether its circuit has been seen open.
    Ill(Instant, bool),
    Healed,
}

/// Orders that are being placed.
struct Load {
    http: reqwest::Client,
    producer: String,
    posts: JoinSet<Result<String>>,
    placed: u64,
    /// Ids.
    accepted: Vec<String>,
    refused: Vec<anyhow::Error>,
}

pub(super) fn heading() -> String {
    let seconds = ILL_FOR.as_secs();
    format!("{} orders, {RATE} per second; a worker is killed, and an API fails for {seconds} s", HumanCount(ORDERS))
}

impl Bulk {
    /// Places the orders, kills a worker, starts it again, and waits until every order has ended.
    ///
    /// # Errors
    /// The worker cannot be killed or started, or an accepted order cannot be read.
    pub(super) async fn of(system: &mut System) -> Result<Self> {
        let producer = system.producer()?.url().await?;
        let mut load = Load {
            http: http::client()?,
            producer,
            posts: JoinSet::new(),
            placed: 0,
            accepted: Vec::new(),
            refused: Vec::new(),
        };
        set_mode(system, Mode::Slow(API_TAKES));
        let placed = load.place_all(system).await;
        set_mode(system, Mode::Healthy);
        let mut faults: Vec<_> = placed.err().iter().map(|fault| format!("{fault:#}")).collect();
        if let Some(first) = load.refused.first() {
            faults.push(format!("{} orders were not accepted; the first: {first:#}", load.refused.len()));
        }
        Ok(Self { orders: load.read_all().await?, faults })
    }

    /// The deliveries to one destination.
    pub(super) fn deliveries(&self, destination: &str) -> impl Iterator<Item = &api::Delivery> {
        self.orders.iter().filter_map(move |order| order.deliveries.get(destination))
    }
}

impl Load {
    /// Places all orders, and waits until both APIs have accepted each of them.
    async fn place_all(&mut self, system: &mut System) -> Result<()> {
        let mut bars = Bars::new(&["accepted", "inventory", "fulfillment"], ORDERS);
        let start = Instant::now();
        let before = effects(system);
        let (mut victim, mut patient) = (Victim::Working, Patient::Well);
        let mut pace = interval(Duration::from_secs(1) / RATE);
        let mut refresh = interval(REFRESH);
        loop {
            tokio::select! {
                _ = pace.tick(), if self.placed < ORDERS => self.place(),
                Some(posted) = self.posts.join_next() => match posted? {
                    Ok(order_id) => self.accepted.push(order_id),
                    Err(fault) => self.refused.push(fault),
                },
                _ = refresh.tick() => {
                    let now = effects(system);
                    let (inventory, fulfillment) = (now[0] - before[0], now[1] - before[1]);
                    let accepted = self.accepted.len() as u64;
                    bars.set(&[accepted, inventory, fulfillment]);
                    match victim {
                        Victim::Working if accepted >= KILLED_AT => {
                            victim = Victim::Killed;
                            let pid = system.kill9(Role::Inventory).await?.pid();
                            bars.moment("inventory", style(format!("worker killed with SIGKILL (process {pid})")).red());
                        }
                        Victim::Killed if accepted >= STARTED_AT => {
                            victim = Victim::Back;
                            let pid = system.start_process(Role::Inventory, &[])?.pid();
                            let behind = HumanCount(accepted - inventory);
                            let what = format!("worker started again (process {pid}), {behind} orders behind");
                            bars.moment("inventory", style(what).green());
                        }
                        _ => {}
                    }
                    match patient {
                        Patient::Well if accepted >= ILL_AT => {
                            patient = Patient::Ill(Instant::now(), false);
                            system.fulfillment_api.set_mode(Mode::Down);
                            bars.moment("fulfillment", style("the API answers 503 to everything".to_owned()).red());
                        }
                        Patient::Ill(since, seen) if since.elapsed() < ILL_FOR => {
                            if !seen && circuit_is_open(system).await {
                                patient = Patient::Ill(since, true);
                                let what = "circuit open: no calls but a probe now and then; orders wait".to_owned();
                                bars.moment("fulfillment", style(what).yellow());
                            }
                        }
                        Patient::Ill(..) => {
                            patient = Patient::Healed;
                            system.fulfillment_api.set_mode(Mode::Slow(API_TAKES));
                            let behind = HumanCount(accepted - fulfillment);
                            let what = format!("the API works again, {behind} orders behind");
                            bars.moment("fulfillment", style(what).green());
                        }
                        Patient::Well | Patient::Healed => {}
                    }
                    if self.placed == ORDERS && self.posts.is_empty() && inventory.min(fulfillment) >= accepted {
                        bars.moment("both APIs", style("have accepted every order").green());
                        return Ok(());
                    }
                    if start.elapsed() > DEADLINE {
                        bail!(
                            "after {DEADLINE:?}, {accepted} orders are accepted, {inventory} delivered to inventory, \
                             {fulfillment} to fulfillment"
                        );
                    }
                }
            }
        }
    }

    fn place(&mut self) {
        self.placed += 1;
        let order = Order::of(&format!("SKU-{}", self.placed));
        let post = self.http.post(format!("{}/v1/orders", self.producer)).json(&order);
        self.posts.spawn(async {
            let response = post.send().await?;
            let status = response.status();
            if status != reqwest::StatusCode::ACCEPTED {
                bail!("{status} {}", response.text().await?);
            }
            let accepted: api::Accepted = response.json().await?;
            Ok(accepted.order_id)
        });
    }

    /// Every accepted order as shown when it has ended, or at the deadline.
    async fn read_all(&self) -> Result<Vec<api::Order>> {
        let deadline = Instant::now() + DEADLINE;
        let read = stream::iter(&self.accepted).map(|order_id| self.read(order_id, deadline));
        read.buffer_unordered(READ_AT_ONCE).try_collect().await
    }

    async fn read(&self, order_id: &str, deadline: Instant) -> Result<api::Order> {
        let url = format!("{}/v1/orders/{order_id}", self.producer);
        loop {
            let order: api::Order = self.http.get(&url).send().await?.error_for_status()?.json().await?;
            if order.is_settled() || Instant::now() > deadline {
                return Ok(order);
            }
            sleep(READ_AGAIN).await;
        }
    }
}

/// Whether the worker for fulfillment makes no calls.
async fn circuit_is_open(system: &System) -> bool {
    let metrics = system.metrics(Role::Fulfillment).await;
    metrics.is_ok_and(|metrics| metrics.sum("tandem_circuit_state", &[("destination", "fulfillment")]) == 2.0)
}

fn set_mode(system: &System, mode: Mode) {
    for api in [&system.inventory_api, &system.fulfillment_api] {
        api.set_mode(mode);
    }
}

/// How many orders each API has accepted.
fn effects(system: &System) -> [u64; 2] {
    [&system.inventory_api, &system.fulfillment_api].map(|api| api.summary().effects)
}
