//! `tandem doctor`: every process examines itself; this side adds whether it answers, is ready, and has the right time.

mod process;
mod report;

use clap::Args;
use reqwest::Url;

use crate::{
    args::url,
    client::Client,
    ending::{Ending, Failure},
    output::Screen,
};

#[derive(Debug, Args)]
#[command(after_help = "\
The producer at --url is always examined. An examination changes nothing but
what every start of a process does: it declares what is missing on the broker.
No message is taken or sent, and no downstream API is called.")]
pub(crate) struct Arguments {
    /// Where a worker serves its health and metrics; again for each worker
    #[arg(long = "worker", value_name = "URL", value_parser = url)]
    workers: Vec<Url>,
    /// Show also what is well
    #[arg(long, short)]
    verbose: bool,
}

/// Examines every process, one after the other, and shows what was found.
///
/// # Errors
/// What is no matter of any process.
pub(crate) async fn run(arguments: &Arguments, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let mut reports = vec![process::examine(client).await?];
    for worker in &arguments.workers {
        reports.push(process::examine(&client.at(worker)?).await?);
    }
    if screen.is_json() {
        let document = serde_json::to_string(&serde_json::json!({"processes": reports}));
        screen.line(document.map_err(|fault| Failure::Other(fault.to_string()))?)?;
    } else {
        report::show(&reports, arguments.verbose, screen)?;
    }
    if reports.iter().all(|report| report.unreachable) {
        return Ok(Ending::Unanswered);
    }
    let bad = reports.iter().flat_map(|report| &report.findings).any(|finding| finding.status == "error");
    Ok(if bad { Ending::Bad } else { Ending::Done })
}
