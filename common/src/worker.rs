//! The worker: calls one destination for every order, and retries until the outcome is known.
//!
//! A delivery goes through these steps: **decode** the body, **admit** it (an event that is already in hand is
//! not attempted twice), **call** the destination and **wait** until the outcome is known, **report** it, then
//! **settle**.
//!
//! In the [`pipeline`], which is one task, [`deliveries`] are in hand, [`calls`] run and the [`verdict`] on each
//! says what follows. How many run is bounded by a [`limit`], and whether any does is decided by a [`circuit`].

mod config;
mod pipeline;
mod deliveries;
mod calls;
mod verdict;
mod limit;
mod circuit;
mod report;
mod settle;
mod metrics;
mod log;

use std::{marker::PhantomData, process::ExitCode, time::Duration};

use tokio_util::sync::CancellationToken;

pub use config::{WorkerConfig, worker_settings};

use crate::{
    broker::{
        Broker,
        inspection::{self, Collector, Needs},
        supervisor,
        topology::Names,
    },
    config::{CommonConfig, Faults, Setting, Settings},
    destination::{Destination, Name},
    doctor::{self, Doctor},
    health::{Health, Kind},
    http,
    http_client::HttpClient,
    process::{self, Failure, Process},
    telemetry::metrics::Metrics,
};

/// How long requests for health and metrics may take once the drain is over.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The whole `main` of a worker.
#[must_use]
pub fn main<D: Destination>() -> ExitCode {
    process::main::<Worker<D>>()
}

/// A worker for one destination, configured.
struct Worker<D: Destination> {
    common: CommonConfig,
    worker: WorkerConfig,
    destination: D::Config,
    kind: PhantomData<D>,
}

impl<D: Destination> Process for Worker<D> {
    const BINARY: &'static str = D::BINARY;
    const ABOUT: &'static str = "Takes orders from its queue and calls one API for each, until it accepts.";

    fn settings() -> Vec<Setting> {
        worker_settings::<D>()
    }

    fn configure(mut settings: Settings) -> Result<Self, Faults> {
        let common = CommonConfig::read(&mut settings);
        let worker = WorkerConfig::read(&mut settings);
        let destination = D::configure(&mut settings);
        settings.finish()?;
        Ok(Self { common: common()?, worker: worker?, destination: destination?, kind: PhantomData })
    }

    fn common(&self) -> &CommonConfig {
        &self.common
    }

    async fn run(self, shutdown: CancellationToken) -> Result<(), Failure> {
        let Self { common, worker, destination, .. } = self;
        let health = Health::default();
        let metrics = Metrics::default();
        let server = http::bind(common.http_addr).await?;
        let client =
            HttpClient::new(D::url(&destination), worker.most_calls(), worker.retry.attempt_timeout, worker.excerpts)?;
        let names = Names::new(common.exchange);
        let broker = Broker::new(common.amqp_url, D::BINARY, names, [Name::of::<D>()]);
        let doctor = doctor::<D>(&broker, D::url(&destination).clone());
        let pipeline = pipeline::Pipeline::new(
            D::new(destination, client),
            worker,
            common.shutdown_grace,
            broker,
            metrics::WorkerMetrics::register(&metrics, D::NAME),
        );
        let consumer = health.component("consumer", Kind::Required);
        let routes = http::operations(health, doctor, metrics, || std::future::ready(()));

        // Health is served until the drain is over, because an orchestrator watches it.
        let drained = CancellationToken::new();
        let served = tokio::spawn(server.run(routes, drained.clone(), LAST_ANSWERS));
        let ended = supervisor::supervise(pipeline, consumer, shutdown).await;
        drained.cancel();
        served.await?;
        Ok(ended?)
    }
}

/// Examines the broker and the connection to the API.
fn doctor<D: Destination>(broker: &Broker, url: reqwest::Url) -> Doctor {
    let needs = Needs {
        consumes: broker.destinations().iter().map(|name| broker.names().queue(name)).collect(),
        publishes_events: false,
        publishes_to_queues: true,
        collector: Collector::Elsewhere,
    };
    let broker = broker.clone();
    Doctor::new(D::BINARY, move || {
        let (broker, needs, url) = (broker.clone(), needs.clone(), url.clone());
        async move {
            let broker = inspection::inspect(&broker, &needs);
            let (mut findings, downstream) = tokio::join!(broker, doctor::downstream(D::NAME, &url));
            findings.push(downstream);
            findings
        }
    })
}
