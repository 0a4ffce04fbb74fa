//! `tandem doctor`: every process examines itself; the command adds whether each one answers, is ready and has the right
//! time.

mod process;
mod report;

use clap::Args;
use common::doctor::Status;
use reqwest::Url;

use crate::{
    client::{Client, to_json},
    exit::{Exit, Failure},
    flags::url,
    output::Screen,
};

#[derive(Debug, Args)]
#[command(after_help = "\
The producer at --url is always examined. An examination declares what is
missing on the broker, as every start of a process does, and changes nothing
else. It takes and sends no messages and calls no downstream API.")]
pub(crate) struct DoctorArgs {
    /// Where a worker serves health and metrics; repeat for each worker
    #[arg(long = "worker", value_name = "URL", value_parser = url)]
    workers: Vec<Url>,
    /// Also show what is in order
    #[arg(long, short)]
    verbose: bool,
}

/// Examines every process, one after the other, and shows the findings.
///
/// # Errors
/// A failure that has nothing to do with the processes.
pub(crate) async fn run(arguments: &DoctorArgs, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    let mut reports = vec![process::examine(client).await?];
    for worker in &arguments.workers {
        reports.push(process::examine(&client.at(worker)?).await?);
    }
    if screen.is_json() {
        screen.line(to_json(&serde_json::json!({"processes": reports}))?)?;
    } else {
        report::show(&reports, arguments.verbose, screen)?;
    }
    if reports.iter().all(|report| report.unreachable) {
        return Ok(Exit::NoAnswer);
    }
    let failed = reports.iter().flat_map(|report| &report.findings).any(|finding| finding.status == Status::Error);
    Ok(if failed { Exit::Unsuccessful } else { Exit::Success })
}
