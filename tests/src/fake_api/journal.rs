//! The record of the fake: the truth outside the system under test.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{
    Api, Behaviour, Mode, Options,
    memory::Memory,
    record::{Call, Ended, Summary},
    reply::{Kind, Reply},
    request::{Body, Request},
};
use crate::lock::lock;

/// How many keys and how many orders are remembered, in 50 MB. A key that returns after this many others has its effect again.
const REMEMBERED: usize = 200_000;

/// The memory of one fake.
#[derive(Debug)]
pub(super) struct Journal {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    token: Option<String>,
    keep_calls: usize,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    rules: HashMap<String, Behaviour>,
    calls: VecDeque<Call>,
    keys: Memory<Key>,
    orders: Memory<Order>,
    summary: Summary,
    log: Option<File>,
    random: u64,
}

#[derive(Debug)]
struct Key {
    calls: u32,
    acted: bool,
    body: u64,
}

#[derive(Debug)]
struct Order {
    first_call: u64,
    first_effect: Option<u64>,
    calls: u32,
    keys: u32,
}

impl Journal {
    pub(super) fn open(options: Options) -> Result<Self> {
        let open = |path: PathBuf| {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            file.with_context(|| format!("cannot open the log {}", path.display()))
        };
        let state = State {
            mode: options.mode,
            rules: HashMap::new(),
            calls: VecDeque::new(),
            keys: Memory::new(REMEMBERED),
            orders: Memory::new(REMEMBERED),
            summary: Summary::default(),
            log: options.log.map(open).transpose()?,
            random: options.seed,
        };
        let token = options.token.filter(|token| !token.is_empty());
        let changed = watch::Sender::new(());
        let keep_calls = if options.counters_only { 0 } else { options.keep_calls.unwrap_or(usize::MAX) };
        Ok(Self { state: Mutex::new(state), changed, token, keep_calls })
    }

    /// Decides the reply to the call, and records it before anything is sent.
    pub(super) fn receive(&self, request: &Request) -> Reply {
        let body = request.parse();
        let refusal = request.check(body.as_ref(), self.token.as_deref()).err();
        let reply = {
            let mut state = lock(&self.state);
            let (reply, effect, reason) = match (refusal, &body) {
                (None, Some(body)) => state.decide(request, body),
                (Some(refusal), _) => (Reply::status(refusal.status), false, Some(refusal.reason)),
                (None, None) => (Reply::status(400), false, None),
            };
            state.summary.calls += 1;
            state.summary.refused += u64::from(reason.is_some());
            state.summary.cuts += u64::from(matches!(reply.kind, Kind::Cut { .. }));
            if self.keep_calls > 0 || state.log.is_some() {
                let call = call(request, body, reply.kind, effect, reason);
                state.append(call, self.keep_calls);
            }
            reply
        };
        self.changed.send_replace(());
        reply
    }

    pub(super) fn redirect_followed(&self) {
        lock(&self.state).summary.redirects_followed += 1;
        self.changed.send_replace(());
    }

    pub(super) fn set_rule(&self, product_id: &str, behaviour: Behaviour) {
        lock(&self.state).rules.insert(product_id.to_owned(), behaviour);
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        lock(&self.state).mode = mode;
    }

    pub(super) fn mode(&self) -> Mode {
        lock(&self.state).mode
    }

    pub(super) fn summary(&self) -> Summary {
        lock(&self.state).summary.clone()
    }

    pub(super) fn calls(&self, order_id: Option<&str>) -> Vec<Call> {
        let state = lock(&self.state);
        let wanted = |call: &&Call| order_id.is_none() || call.order_id.as_deref() == order_id;
        state.calls.iter().filter(wanted).cloned().collect()
    }

    pub(super) fn count_about(&self, order_id: &str) -> usize {
        let state = lock(&self.state);
        let about = |api| state.orders.get(api, order_id).map_or(0, |order| order.calls);
        (about(Api::Inventory) + about(Api::Fulfillment)) as usize
    }

    /// One line per API and order: when it was first called about and when it first acted, in microseconds since 1970.
    pub(super) fn first_times(&self) -> String {
        let state = lock(&self.state);
        let line = |(api, order_id, order): (Api, &_, &Order)| {
            let effect = order.first_effect.map(|at| at.to_string()).unwrap_or_default();
            format!("{},{order_id},{},{effect}\n", api.path(), order.first_call)
        };
        state.orders.iter().map(line).collect()
    }

    /// Checks the condition after every call.
    pub(super) async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.changed.subscribe();
        while !holds(self) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl State {
    /// The reply, whether this call has the effect, and a reason if the caller is at fault.
    fn decide(&mut self, request: &Request, body: &Body) -> (Reply, bool, Option<&'static str>) {
        let now = micros();
        let key = request.header("idempotency-key").unwrap_or_default();
        let new = || Order { first_call: now, first_effect: None, calls: 0, keys: 0 };
        let order = self.orders.get_or_insert(request.api, &body.order_id, new);
        order.calls += 1;
        self.summary.orders += u64::from(order.calls == 1);

        let hash = short_hash(&request.body);
        let key = self.keys.get_or_insert(request.api, key, || Key { calls: 0, acted: false, body: hash });
        let earlier = u64::from(key.calls);
        key.calls += 1;
        if earlier == 0 {
            self.summary.keys += 1;
            order.keys += 1;
            self.summary.orders_with_several_keys += u64::from(order.keys == 2);
        } else {
            self.summary.repeats += 1;
        }
        if key.body != hash {
            self.summary.mismatches += 1;
            return (Reply::status(422), false, Some("the key belongs to another body"));
        }

        let products = || body.items.iter().map(|item| item.product_id.as_str());
        let by_rule = products().find_map(|product| self.rules.get(product).copied());
        let behaviour = by_rule.or_else(|| products().find_map(|product| Behaviour::of_product(product, request.api)));
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let reply = Reply::choose(self.mode, behaviour, earlier, mix(self.random));

        let effect = reply.kind.acts() && !key.acted;
        if effect {
            key.acted = true;
            order.first_effect.get_or_insert(now);
            self.summary.effects += 1;
            match request.api {
                Api::Inventory => self.summary.inventory_effects += 1,
                Api::Fulfillment => self.summary.fulfillment_effects += 1,
            }
        }
        (reply, effect, None)
    }

    fn append(&mut self, call: Call, keep: usize) {
        if let Some(log) = &mut self.log
            && let Ok(mut line) = serde_json::to_vec(&call)
        {
            line.push(b'\n');
            if let Err(fault) = log.write_all(&line) {
                eprintln!("cannot write the log: {fault}");
            }
        }
        if keep > 0 {
            if self.calls.len() >= keep {
                self.calls.pop_front();
            }
            self.calls.push_back(call);
        }
    }
}

fn call(request: &Request, body: Option<Body>, kind: Kind, effect: bool, refusal: Option<&str>) -> Call {
    let header = |name| request.header(name).map(str::to_owned);
    Call {
        at: micros(),
        api: request.api,
        path: request.api.path().to_owned(),
        order_id: body.map(|body| body.order_id),
        idempotency_key: header("idempotency-key"),
        correlation_id: header("x-correlation-id"),
        traceparent: header("traceparent"),
        body_sha256: Sha256::digest(&request.body).iter().map(|byte| format!("{byte:02x}")).collect(),
        status: kind.status(),
        ended: match kind {
            Kind::Hang => Ended::Hung,
            Kind::Cut { acted: false } => Ended::Cut,
            Kind::Cut { acted: true } => Ended::CutAfterActing,
            _ => Ended::Answered,
        },
        effect,
        refusal: refusal.map(str::to_owned),
    }
}

fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Distinguishes two bodies of one key; not a defence against an attacker.
fn short_hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The output function of `SplitMix64`: well-mixed lots from a counter.
fn mix(mut lot: u64) -> u64 {
    lot = (lot ^ (lot >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    lot = (lot ^ (lot >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    lot ^ (lot >> 31)
}
