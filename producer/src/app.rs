//! The wiring: configuration, build, run, drain.

mod context;
mod parts;

use std::{path::Path, sync::Arc};

use common::{
    broker::{
        Broker,
        inspection::{self, Needs},
        topology::{Names, dead_letter_queue},
    },
    config::{CommonConfig, Faults, Setting, Settings},
    doctor::Doctor,
    health::{Component, Health, Kind},
    http::Server,
    origin::Origin,
    process::{Failure, Process},
    telemetry::metrics::Metrics,
};
use store::{Committed, Store, StoreTasks};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use self::context::Context;
use self::parts::Parts;
use crate::{
    collector::{Collector, CollectorMetrics},
    config::{self, Config},
    doctor::Examination,
    http,
    intake::{self, Intake},
    ledger::Ledger,
    outbox::{Outbox, OutboxGauges},
    pending::PendingGauges,
    reconcile::{Reconciler, Swept},
    redrive::{RedriveMetrics, Runner, Wake},
    relay::{CatchUp, Relay, RelayMetrics},
    upkeep::Sweeper,
    waker::{Begun, Waker},
    watch::Watch,
};

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
        App::build(self).await?.run(shutdown).await
    }
}

/// The producer, ready to run: its address is bound and its store is open.
struct App {
    config: Config,
    context: Context,
    server: Server,
    committed: mpsc::UnboundedReceiver<Committed>,
    tasks: StoreTasks,
}

impl App {
    async fn build(config: Config) -> Result<Self, Failure> {
        let (health, metrics, watch) = (Health::default(), Metrics::default(), Watch::default());
        let server = common::http::bind(config.common.http_addr).await?;
        let Store { writes, desk, committed, backlog, tasks } =
            Store::open(&config.database, &config.destinations, config.intake_queue, &metrics).await?;
        if backlog.events > 0 {
            tracing::info!(events = backlog.events, "the outbox holds events from before, publishing them");
        }
        let names = Names::new(config.common.exchange.clone());
        let broker = Broker::new(config.common.amqp_url.clone(), Config::BINARY, names, config.destinations.clone());
        let outbox = Arc::new(Outbox::new(&backlog, &config.destinations, config.outbox_limit));
        let grace = config.common.shutdown_grace;
        let begun = Begun::new(&config.destinations);
        let context = Context { broker, grace, desk, writes, outbox, watch, begun, health, metrics };
        Ok(Self { config, context, server, committed, tasks })
    }

    async fn run(self, shutdown: CancellationToken) -> Result<(), Failure> {
        let Self { config, context, server, committed, tasks } = self;
        let store = context.health.component("store", Kind::Required);
        let (outbox, watch) = (Arc::clone(&context.outbox), context.watch.clone());
        let distributor = tokio::spawn(intake::distribute(committed, outbox, watch, store.clone()));

        // The producer accepts orders without the broker too: a part that is down only degrades it.
        let health = context.health.clone();
        let component = |name: &'static str| health.component(name, Kind::Tolerated);
        let (wake, swept, relay) = (Wake::default(), Swept::default(), component("relay"));
        let redrives = RedriveMetrics::register(&context.metrics);
        let mut parts = Parts::new(shutdown.clone());
        let published = RelayMetrics::register(&context.metrics);
        parts.supervise(Relay::new(&context, published.clone()), relay.clone());
        for (lane, destination) in config.destinations.iter().enumerate() {
            let component = health.component(format!("relay {destination}"), Kind::Tolerated);
            let catch_up = CatchUp::new(&context, lane, destination.clone(), published.clone());
            parts.run(catch_up.run(component, shutdown.clone()));
        }
        parts.supervise(Ledger::new(&context, redrives.clone()), component("ledger"));
        for destination in context.broker.destinations() {
            let component = health.component(format!("waker {destination}"), Kind::Tolerated);
            parts.supervise(Waker::new(&context, destination.clone()), component);
        }
        parts.supervise(Runner::new(&context, wake.clone(), redrives), component("redrives"));
        if config.collector {
            collect(&mut parts, &context);
        }
        let reconciler = Reconciler::new(&context, config.reconcile, relay, swept.clone(), wake.clone());
        parts.run(reconciler.run(component("reconciliation"), shutdown.clone()));
        let sweeper = Sweeper::new(&context, config.clients.key_ttl, config.retention);
        parts.run(sweeper.run(component("upkeep"), shutdown.clone()));

        serve(server, config, context, store, wake, swept, shutdown).await;

        // Every handle to the store is dropped with the API and the parts; then its threads end.
        let ended = parts.join().await;
        tasks.end().await;
        distributor.await?;
        ended
    }
}

/// Starts a collector for each dead-letter queue.
fn collect(parts: &mut Parts, context: &Context) {
    let destinations = context.broker.destinations().iter().cloned().map(Origin::from);
    let origins: Vec<_> = destinations.chain([Origin::Reports]).collect();
    let metrics = CollectorMetrics::register(&context.metrics, &origins);
    for origin in origins {
        let component = context.health.component(format!("collector {origin}"), Kind::Tolerated);
        parts.supervise(Collector::new(context, origin, metrics.clone()), component);
    }
}

/// Serves the API and what operators look at, until `shutdown` and the end of the drain.
async fn serve(
    server: Server,
    config: Config,
    context: Context,
    store: Component,
    wake: Wake,
    swept: Swept,
    shutdown: CancellationToken,
) {
    let doctor = doctor(&context, store, config.collector, config.database.file());
    let Context { grace, desk, writes, outbox, watch, begun, health, metrics, .. } = context;
    let gauges = OutboxGauges::register(&metrics);
    let pending = PendingGauges::register(&metrics, &config.destinations);
    let measured = (desk.clone(), Arc::clone(&outbox));
    let operations = common::http::operations(health, doctor, metrics.clone(), move || {
        let ((desk, outbox), gauges, pending) = (measured.clone(), gauges.clone(), pending.clone());
        async move {
            gauges.measure(&desk, &outbox).await;
            pending.measure(&desk).await;
        }
    });
    let api = http::Api {
        intake: Intake::new(writes, outbox, &metrics),
        desk,
        watch,
        wake,
        begun,
        swept,
        destinations: config.destinations,
        key_ttls: config.key_ttls,
        limits: http::Limits::new(config.clients, shutdown.clone(), &metrics),
        shutdown: shutdown.clone(),
    };
    server.run(http::router(api, &metrics, operations), shutdown, grace).await;
}

fn doctor(context: &Context, store: Component, collector: bool, file: Option<&Path>) -> Doctor {
    let broker = context.broker.clone();
    let mut consumes = vec![broker.names().outcomes()];
    if collector {
        let queues = broker.destinations().iter().map(|name| broker.names().queue(name));
        let queues: Vec<_> = queues.chain([broker.names().outcomes()]).collect();
        consumes.extend(queues.iter().map(|queue| dead_letter_queue(queue)));
    }
    let needs = Needs {
        consumes,
        publishes_events: true,
        publishes_to_queues: true,
        collector: if collector { inspection::Collector::Here } else { inspection::Collector::Off },
    };
    let (desk, outbox, file) = (context.desk.clone(), Arc::clone(&context.outbox), file.map(Path::to_owned));
    let examination = Examination { broker, needs, desk, outbox, store, file };
    Doctor::new(Config::BINARY, move || examination.clone().findings())
}
