//! The wiring: store, intake, relay, ledger, collector and HTTP, from start to drain.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use common::{
    broker::{
        Broker, BrokerFault,
        inspection::{self, Needs},
        supervisor,
        topology::{Names, dead_letter_queue},
    },
    config::{CommonConfig, Faults, Setting, Settings},
    doctor::Doctor,
    event::now,
    health::{Health, Kind},
    origin::Origin,
    process::{Failure, Process},
    telemetry::metrics::{Gauge, Metrics},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    collector::{Collector, CollectorMetrics, Pace},
    config::{self, Config},
    doctor::Examination,
    http,
    intake::{self, Intake},
    ledger::{Ledger, LedgerMetrics},
    outbox::Outbox,
    reconcile::{ReconcileMetrics, Reconciler, Swept},
    redrive::{RedriveMetrics, Runner, Wake},
    relay::{Relay, RelayMetrics},
    upkeep::{Sweeper, UpkeepMetrics},
    watch::Watch,
};
use store::{Desk, Store, StoreTasks};

/// How long the last transaction may take, after everything else has ended.
const LAST_COMMIT: Duration = Duration::from_secs(5);

impl Process for Config {
    const BINARY: &'static str = "producer";
    const ABOUT: &'static str = "Takes orders over HTTP, stores them, and publishes an event for each.";

    fn settings() -> Vec<Setting> {
        config::settings()
    }

    fn configure(settings: Settings) -> Result<Self, Faults> {
        Self::read(settings)
    }

    fn common(&self) -> &CommonConfig {
        &self.common
    }

    async fn run(self, shutdown: CancellationToken) -> Result<(), Failure> {
        run(self, shutdown).await
    }
}

async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Failure> {
    let Config {
        common,
        database,
        destinations,
        intake_queue,
        outbox_limit,
        collector,
        key_ttls,
        reconcile,
        clients,
        retention,
    } = config;
    let grace = common.shutdown_grace;
    let health = Health::default();
    let metrics = Metrics::default();

    let server = common::http::bind(common.http_addr).await?;
    let watch = Watch::default();
    let Store { writes, desk, committed, backlog, tasks } =
        Store::open(&database, &destinations, intake_queue, &metrics).await?;

    let outbox = Arc::new(Outbox::new(backlog, outbox_limit));
    if backlog.events > 0 {
        tracing::info!(events = backlog.events, "the outbox holds events from before, publishing them");
    }
    let store = health.component("store", Kind::Required);
    let distributor = tokio::spawn(intake::distribute(committed, Arc::clone(&outbox), watch.clone(), store.clone()));

    let names = Names::new(common.exchange);
    // Each session that consumes has its own: what it finds out about frames is of its queue.
    let new_broker = || Broker::new(common.amqp_url.clone(), Config::BINARY, names.clone(), destinations.clone());
    let broker = new_broker();
    let mut needs = Needs {
        consumes: vec![broker.names().outcomes()],
        publishes_events: true,
        publishes_to_queues: true,
        collector: if collector { inspection::Collector::Here } else { inspection::Collector::Off },
    };
    if collector {
        let queues = destinations.iter().map(|name| broker.names().queue(name)).chain([broker.names().outcomes()]);
        needs.consumes.extend(queues.map(|queue| dead_letter_queue(&queue)));
    }
    let examination = Examination {
        broker: broker.clone(),
        needs,
        desk: desk.clone(),
        outbox: Arc::clone(&outbox),
        store,
        file: database.file().map(Path::to_owned),
    };
    let doctor = Doctor::new(Config::BINARY, move || examination.clone().findings());
    let relay = Relay::new(
        broker.clone(),
        grace,
        Arc::clone(&outbox),
        desk.clone(),
        writes.clone(),
        RelayMetrics::register(&metrics),
        backlog.published_up_to,
    );
    let relay_health = health.component("relay", Kind::Tolerated);
    let (wake, swept, redrives) = (Wake::default(), Swept::default(), RedriveMetrics::register(&metrics));
    let runner = Runner::new(broker.clone(), grace, desk.clone(), watch.clone(), wake.clone(), redrives.clone());
    let reconciler = Reconciler::new(
        broker.clone(),
        desk.clone(),
        relay_health.clone(),
        reconcile,
        swept.clone(),
        wake.clone(),
        ReconcileMetrics::register(&metrics),
    );
    let ledger = Ledger {
        broker,
        desk: desk.clone(),
        redrives,
        grace,
        writes: writes.clone(),
        metrics: LedgerMetrics::register(&metrics),
    };
    // An order is accepted without the broker too, so its absence only degrades.
    let relay = supervisor::supervise(relay, relay_health, shutdown.clone());
    let ledger = supervisor::supervise(ledger, health.component("ledger", Kind::Tolerated), shutdown.clone());
    let runner = supervisor::supervise(runner, health.component("redrives", Kind::Tolerated), shutdown.clone());
    let runner = tokio::spawn(ending(runner, shutdown.clone()));
    let reconciler = reconciler.run(health.component("reconciliation", Kind::Tolerated), shutdown.clone());
    let reconciler = tokio::spawn(reconciler);
    let relay = tokio::spawn(ending(relay, shutdown.clone()));
    let ledger = tokio::spawn(ending(ledger, shutdown.clone()));
    let mut collectors = Vec::new();
    if collector {
        let origins: Vec<_> = destinations.iter().cloned().map(Origin::from).chain([Origin::Reports]).collect();
        let metrics = CollectorMetrics::register(&metrics, &origins);
        for origin in origins {
            let component = health.component(format!("collector {origin}"), Kind::Tolerated);
            let collector = Collector {
                broker: new_broker(),
                origin,
                grace,
                desk: desk.clone(),
                watch: watch.clone(),
                metrics: metrics.clone(),
                pace: Pace::default(),
            };
            let collector = supervisor::supervise(collector, component, shutdown.clone());
            collectors.push(tokio::spawn(ending(collector, shutdown.clone())));
        }
    }

    let sweeper =
        Sweeper { desk: desk.clone(), key_ttl: clients.key_ttl, retention, metrics: UpkeepMetrics::register(&metrics) };
    let upkeep = sweeper.run(health.component("upkeep", Kind::Tolerated), shutdown.clone());
    let upkeep = tokio::spawn(upkeep);

    let intake = Intake::new(writes, Arc::clone(&outbox), &metrics);
    let gauges = OutboxGauges::register(&metrics);
    let scraped = (desk.clone(), outbox);
    let operations = common::http::operations(health, doctor, metrics.clone(), move || {
        let ((desk, outbox), gauges) = (scraped.clone(), gauges.clone());
        async move { gauges.measure(&desk, &outbox).await }
    });
    let limits = http::Limits::new(clients, shutdown.clone(), &metrics);
    let shutdown_http = shutdown.clone();
    let api = http::Api { intake, desk, watch, wake, swept, destinations, key_ttls, limits, shutdown: shutdown_http };
    let router = http::router(api, &metrics, operations);
    server.run(router, shutdown, grace).await;

    // The ways to the store end with HTTP, relay and ledger; then its threads do.
    let (relay, ledger) = (relay.await?, ledger.await?);
    upkeep.await?;
    let mut collected = Ok(());
    for collector in collectors {
        collected = collected.and(collector.await?);
    }
    let runner = runner.await?;
    reconciler.await?;
    end(tasks).await;
    distributor.await?;
    relay?;
    ledger?;
    collected?;
    runner?;
    Ok(())
}

/// Ends the process when a part of it cannot go on.
async fn ending(
    part: impl Future<Output = Result<(), BrokerFault>>,
    shutdown: CancellationToken,
) -> Result<(), BrokerFault> {
    let ended = part.await;
    shutdown.cancel();
    ended
}

/// Waits for what runs behind the store.
async fn end(StoreTasks { threads, tasks, ended }: StoreTasks) {
    for thread in threads {
        join(thread).await;
    }
    ended.cancel();
    tasks.close();
    if timeout(LAST_COMMIT, tasks.wait()).await.is_err() {
        tracing::error!("a connection of the store does not end: the database does not answer");
    }
}

/// Waits for a store's thread without blocking the runtime's own, which it still speaks to.
async fn join(thread: JoinHandle<()>) {
    let deadline = Instant::now() + LAST_COMMIT;
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            tracing::error!("a thread of the store does not end: the disk does not answer");
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}

/// What is measured when somebody looks, and not counted along the way.
#[derive(Clone, Debug)]
struct OutboxGauges {
    events: Gauge,
    oldest_age: Gauge<f64, AtomicU64>,
}

impl OutboxGauges {
    fn register(metrics: &Metrics) -> Self {
        let this = Self { events: Gauge::default(), oldest_age: Gauge::default() };
        metrics.register(|registry| {
            registry.register(
                "outbox_backlog",
                "Accepted orders that the broker has not confirmed",
                this.events.clone(),
            );
            registry.register(
                "outbox_oldest_age_seconds",
                "Age of the oldest accepted order that the broker has not confirmed",
                this.oldest_age.clone(),
            );
        });
        this
    }

    async fn measure(&self, desk: &Desk, outbox: &Outbox) {
        self.events.set(i64::try_from(outbox.backlog()).unwrap_or(i64::MAX));
        if outbox.backlog() == 0 {
            self.oldest_age.set(0.0);
        } else if let Ok(backlog) = desk.backlog().await {
            let age = backlog.oldest_at.map_or(0, |at| now().as_microsecond() - at.as_microsecond());
            #[expect(clippy::cast_precision_loss, reason = "an age in microseconds is far below 2^52")]
            self.oldest_age.set(age.max(0) as f64 / 1e6);
        }
    }
}
