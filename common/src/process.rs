//! The frame of every binary: configuration, telemetry, runtime, work, exit code.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    config::{Command, CommonConfig, Faults, Setting, Settings, Source},
    open_files, shutdown, telemetry,
};

/// Exit code for a configuration that cannot be used (`EX_CONFIG` of `sysexits.h`).
const EXIT_CONFIG: u8 = 78;
/// How long a health check may take.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// A binary of Tandem.
pub trait Process: Sized {
    /// The binary's name.
    const BINARY: &'static str;
    /// What it does, in one sentence, for `--help`.
    const ABOUT: &'static str;

    /// Every setting of it.
    fn settings() -> Vec<Setting>;

    /// Reads all of them.
    ///
    /// # Errors
    /// Every fault that was found.
    fn configure(settings: Settings) -> Result<Self, Faults>;

    /// The configuration that every process has.
    fn common(&self) -> &CommonConfig;

    /// Works until `shutdown`, then drains and returns.
    fn run(self, shutdown: CancellationToken) -> impl Future<Output = Result<(), Failure>>;
}

/// Why a process could not start or continue.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the process to its end and returns its exit code.
#[must_use]
pub fn main<P: Process>() -> ExitCode {
    let table = P::settings();
    let (source, command) = Source::from_process(P::BINARY, P::ABOUT, &table);
    let process = match P::configure(Settings::new(source, &table)) {
        Ok(process) => process,
        Err(faults) => {
            eprintln!("{}: {faults}", P::BINARY);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    // One thread: passing work between threads costs more than the work for an order.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => {
            eprintln!("{}: cannot start the runtime: {fault}", P::BINARY);
            return ExitCode::FAILURE;
        }
    };
    if command == Some(Command::Healthcheck) {
        return runtime.block_on(healthcheck(process.common().http_addr));
    }
    telemetry::init(process.common().log_format, &process.common().log_level);
    open_files::raise();
    let ended = runtime.block_on(async {
        let (shutdown, signals) = shutdown::on_signal()?;
        let ended = process.run(shutdown).await;
        signals.abort();
        ended
    });
    match ended {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(fault) => {
            tracing::error!(%fault, "{} cannot continue", P::BINARY);
            ExitCode::FAILURE
        }
    }
}

async fn healthcheck(mut http_addr: SocketAddr) -> ExitCode {
    if http_addr.ip().is_unspecified() {
        http_addr.set_ip(if http_addr.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let url = format!("http://{http_addr}/readyz");
    let answer = async {
        let client = reqwest::Client::builder().no_proxy().timeout(HEALTHCHECK_TIMEOUT);
        let client = crate::http_client::without_tls(client)?.build()?;
        let answer = client.get(&url).send().await?;
        Ok::<_, Failure>((answer.status().is_success(), answer.text().await?))
    };
    match answer.await {
        Ok((ready, report)) => {
            println!("{report}");
            if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(fault) => {
            eprintln!("{url}: {fault}");
            ExitCode::FAILURE
        }
    }
}
