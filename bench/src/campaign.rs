//! The whole run: rounds, then backlogs, then the count of forced writes; each on a system of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use ::tests::{
    binaries,
    broker::Broker,
    postgres::{Postgres, Syncs},
};
use anyhow::{Context as _, Result};

use crate::{
    conditions::{self, Conditions},
    load::Load,
    options::{Options, Part, Store},
    report::Report,
    summary,
    system::Setup,
    usage::Servers,
};

/// Measures, shows a summary and writes the result.
///
/// Cancellation safe: everything that was started ends with the future.
///
/// # Errors
/// Something cannot be started or measured.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let load_before = conditions::load_average();
    let campaign = Campaign::prepare(options).await?;
    let options = &campaign.options;
    let mut report =
        Report::new(Conditions::now(load_before, &campaign.servers, &campaign.data).await?, options.clone());
    eprintln!("load average before: {}", report.conditions.load_before);
    if [Part::Raw, Part::Closed, Part::Open].into_iter().any(|part| options.measures(part)) {
        for number in 1..=options.rounds {
            report.rounds.push(campaign.round(number).await?);
        }
    }
    if options.measures(Part::Backlog) {
        report.backlogs.push(campaign.outbox_backlog().await?);
        report.backlogs.push(campaign.queue_backlog().await?);
    }
    if options.measures(Part::Syncs) {
        report.syncs = Some(campaign.syncs().await?);
    }
    campaign.show(&report)?;
    if report.is_clean() {
        Ok(ExitCode::SUCCESS)
    } else {
        eprintln!("FAILED: not every order was delivered to both APIs under one key each");
        Ok(ExitCode::FAILURE)
    }
}

/// What every part needs.
#[derive(Debug)]
pub(crate) struct Campaign {
    pub(crate) options: Options,
    pub(crate) servers: Servers,
    /// The directory of the binaries.
    binaries: PathBuf,
    /// Where results go.
    results: PathBuf,
    /// Working directory and databases of the processes; removed at the end.
    pub(crate) data: PathBuf,
}

impl Campaign {
    async fn prepare(options: Options) -> Result<Self> {
        let target = binaries::target_directory()?;
        let binaries = match &options.binaries {
            Some(directory) => directory.canonicalize().with_context(|| format!("no {}", directory.display()))?,
            None => std::env::current_exe()?.parent().context("this program is in no directory")?.to_owned(),
        };
        let results = target.join("bench");
        let data = results.join(format!("data-{}", std::process::id()));
        let broker = Broker::find_or_start().await?;
        let database = match options.store {
            Store::Sqlite => None,
            Store::Postgres => Some(Postgres::find_or_start(Syncs::On).await?),
        };
        // Last, because only what this returns removes it.
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        Ok(Self { options, servers: Servers { broker, database }, binaries, results, data })
    }

    /// A new database and exchange, with these fake APIs.
    pub(crate) async fn setup(&self, part: &str, load: &Load) -> Result<Setup> {
        let database = match &self.servers.database {
            Some(server) => Some(server.fresh_database().await?),
            None => None,
        };
        Ok(Setup {
            binaries: self.binaries.clone(),
            directory: self.data.clone(),
            exchange: self.exchange(part),
            amqp_url: self.servers.broker.url(),
            apis: load.urls()?,
            database,
        })
    }

    /// An exchange for one part. The broker at `AMQP_URL` may be used by others too.
    pub(crate) fn exchange(&self, part: &str) -> String {
        format!("bench-{}-{part}", std::process::id())
    }

    fn show(&self, report: &Report) -> Result<()> {
        let json = serde_json::to_string_pretty(report)?;
        let summary = summary::of(report);
        let file = self.results.join(format!("{}.json", report.conditions.at.replace(':', "")));
        let file = self.options.json.as_deref().unwrap_or(&file);
        if file == Path::new("-") {
            eprintln!("\n{summary}");
            println!("{json}");
            return Ok(());
        }
        fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
        println!("\n{summary}");
        eprintln!("written to {}", file.display());
        Ok(())
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        // What cannot be removed is below the build directory; no reason to fail.
        let _ = fs::remove_dir_all(&self.data);
    }
}
