//! `tandem redrive`: what would be sent, sending it, and watching until the last one has an end.

mod job;
mod plan;
mod start;
mod watch;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use self::job::Job;
use crate::{
    args::Filter,
    client::{Client, Request, read},
    ending::{Ending, Failure},
    order::{self, Extent, said},
    output::{Cell, Column, Screen, Table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a redrive would send; nothing is sent
    Plan(Selection),
    /// Show the plan, ask, and send
    Start(Start),
    /// List redrives
    List {
        #[command(flatten)]
        extent: Extent,
    },
    /// Show a redrive
    Show {
        /// The redrive's id
        id: String,
    },
    /// Follow a redrive until it has ended
    Watch {
        /// The redrive's id
        id: String,
    },
    /// Send no more until it is resumed
    Pause {
        /// The redrive's id
        id: String,
    },
    /// Go on with a redrive that was paused or has stopped
    Resume {
        /// The redrive's id
        id: String,
    },
    /// End a redrive; what is not sent stays a dead letter
    Cancel {
        /// The redrive's id
        id: String,
    },
}

/// Where `--help` shows how things are sent.
const SENDING: &str = "Sending";

/// What is to be sent, and how.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Dead letters to send, by id
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// The same as a flag
    #[arg(long = "id", value_name = "ID")]
    more_ids: Vec<String>,
    /// Every dead letter that is not put aside
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Most dead letters sent in a second
    #[arg(long, help_heading = SENDING, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Most of them under way at a time
    #[arg(long, help_heading = SENDING, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    /// Stop when more than this share of the last ones fails again
    #[arg(long, help_heading = SENDING, value_name = "0 to 1", value_parser = share)]
    stop_after_failed_share: Option<f64>,
    /// Send also what the destination may have forgotten the key of
    #[arg(long, help_heading = SENDING)]
    force: bool,
    /// Send this body instead, from a file or (-) standard input
    #[arg(long, help_heading = SENDING, value_name = "FILE")]
    body: Option<String>,
    /// Under a new key: the destination takes it for something new
    #[arg(long, help_heading = SENDING, requires = "body")]
    new_key: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    selection: Selection,
    /// Do not ask
    #[arg(long, short, help_heading = SENDING)]
    yes: bool,
    /// Follow it until it has ended
    #[arg(long, help_heading = SENDING)]
    watch: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number from 0 to 1, such as 0.5".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be from 0 to 1".to_owned()) }
}

impl Selection {
    /// The body of the request, without `dry_run`.
    ///
    /// # Errors
    /// What is meant is not clear, or the body cannot be read.
    fn request(&self) -> Result<Map<String, Value>, Failure> {
        let ids: Vec<_> = self.ids.iter().chain(&self.more_ids).cloned().collect();
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        match (ids.is_empty(), self.filter.is_empty(), self.all) {
            (true, true, false) => {
                return usage("name dead letters by id, give a filter such as --destination, or --all");
            }
            (false, _, true) | (_, false, true) => return usage("--all goes with neither ids nor a filter"),
            (false, false, _) => return usage("give either ids or a filter"),
            _ => {}
        }
        if self.body.is_some() && ids.len() != 1 {
            return usage("--body goes with exactly one id: it is the body of one dead letter");
        }
        let mut request = Map::new();
        let mut put = |name: &str, value: Value| drop(request.insert(name.to_owned(), value));
        if ids.is_empty() {
            put("filter", self.filter.json().into());
        } else {
            put("ids", ids.into());
        }
        if let Some(rate) = self.rate {
            put("rate", rate.into());
        }
        if let Some(concurrency) = self.concurrency {
            put("concurrency", concurrency.into());
        }
        if let Some(share) = self.stop_after_failed_share {
            put("stop_after_failed_share", share.into());
        }
        if self.force {
            put("force", true.into());
        }
        if let Some(file) = &self.body {
            put("body", order::read(file)?.into());
        }
        if self.new_key {
            put("new_key", true.into());
        }
        Ok(request)
    }
}

/// Does what the command says.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: Command, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    match command {
        Command::Plan(selection) => plan::run(&selection, client, screen).await,
        Command::Start(arguments) => start::run(&arguments, client, screen).await,
        Command::List { extent } => list(extent, client, screen).await,
        Command::Show { id } => shown(&Request::get(["v1", "redrives", &id]), client, screen).await,
        Command::Watch { id } => watch::run(&id, client, screen).await,
        Command::Pause { id } => shown(&verb(&id, "pause"), client, screen).await,
        Command::Resume { id } => shown(&verb(&id, "resume"), client, screen).await,
        Command::Cancel { id } => shown(&verb(&id, "cancel"), client, screen).await,
    }
}

fn verb<'a>(id: &'a str, verb: &'a str) -> Request<'a> {
    Request::post(["v1", "redrives", id, verb], "{}".to_owned())
}

/// Asks, and shows the job that is answered.
async fn shown(request: &Request<'_>, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let answer = client.ask(request).await?;
    if screen.is_json() {
        screen.line(answer.body.trim())?;
    } else {
        job::show(&answer.read()?, screen)?;
    }
    Ok(Ending::Done)
}

async fn list(extent: Extent, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let mut table = Table::new([
        Column::new("REDRIVE"),
        Column::new("STATUS"),
        Column::number("MATCHED"),
        Column::number("SENT"),
        Column::number("DELIVERED"),
        Column::number("DEAD"),
        Column::number("LEFT"),
        Column::squeezed("STARTED"),
    ]);
    let mut listed = 0;
    let pages = client.pages(&["v1", "redrives"], &[], extent.limit(), |items| {
        listed += items.len();
        if screen.is_json() {
            return Ok(items.iter().try_for_each(|item| screen.line(item))?);
        }
        let jobs: Vec<Job> = items.iter().map(|item| read(item.get())).collect::<Result<_, _>>()?;
        let rows: Vec<_> = jobs
            .iter()
            .map(|job| {
                let numbers = [job.matched, job.sent, job.delivered, job.dead_lettered, job.remaining];
                let mut row = vec![Cell::new(&job.id), Cell::status(&job.status)];
                row.extend(numbers.map(|number| Cell::new(number.to_string())));
                row.push(Cell::dim(job.created_at.map(|at| screen.time(at)).unwrap_or_default()));
                row
            })
            .collect();
        Ok(table.rows(screen, &rows)?)
    });
    let more = pages.await?;
    said(screen, listed, more, "redrive");
    Ok(Ending::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        selection: Selection,
    }

    fn request(line: &str) -> Result<Value, Failure> {
        Line::parse_from(line.split_whitespace()).selection.request().map(Value::from)
    }

    #[test]
    fn a_selection_becomes_the_request_of_the_contract() {
        let wanted = json!({"filter": {"destination": "north", "status_code": 422}, "rate": 50, "concurrency": 4,
                            "stop_after_failed_share": 0.5, "force": true});
        let line = "redrive --destination north --status-code 422 --rate 50 --concurrency 4 \
                    --stop-after-failed-share 0.5 --force";
        assert_eq!(request(line).unwrap(), wanted);
        assert_eq!(request("redrive 1 --id 2").unwrap(), json!({"ids": ["1", "2"]}));
        assert_eq!(request("redrive --all").unwrap(), json!({"filter": {}}));
        assert_eq!(request("redrive --archived").unwrap(), json!({"filter": {"archived": true}}));
    }

    #[test]
    fn what_is_meant_must_be_clear() {
        for line in [
            "redrive",
            "redrive --rate 5",
            "redrive 1 --destination north",
            "redrive 1 --all",
            "redrive --destination north --all",
            "redrive 1 2 --body -",
            "redrive --all --body -",
            "redrive 1 --body /no/such/file",
        ] {
            assert!(matches!(request(line), Err(Failure::Usage(_))), "{line}");
        }
    }
}
