//! `tandem dead`: dead letters one by one and by cause, and archiving them.

mod view;

use api::{DeadLetterGroup, Note};
use clap::{Args, Subcommand};

pub(crate) use self::view::line;
use crate::{
    client::{Client, Request, to_json},
    exit::{Exit, Failure},
    flags::{FilterArgs, LimitArgs},
    output::{Cell, Column, Screen, count},
    results::{List, document},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List dead letters
    List {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Count dead letters by destination and cause
    Groups {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show dead letters with body, headers and every attempt
    Show {
        /// The dead letter's id
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Archive dead letters that need no further action
    Archive(ArchiveArgs),
    /// Return archived dead letters to the list
    Unarchive(ArchiveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// The dead letter's id
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// The reason, for later readers
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

const GROUP_COLUMNS: [Column; 5] = [
    Column::number("COUNT"),
    Column::new("DESTINATION"),
    Column::squeezed("CAUSE"),
    Column::new("LAST"),
    Column::new("SAMPLE"),
];

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: Command, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    match command {
        Command::List { filter, limit } => {
            let (path, query) = (&["v1", "dead-letters"], &filter.query());
            let letters = List { path, query, noun: "dead letter", columns: &view::COLUMNS, row: view::row };
            letters.print(limit, client, screen).await
        }
        Command::Groups { filter, limit } => {
            let (path, query) = (&["v1", "dead-letters:groups"], &filter.query());
            let groups = List { path, query, noun: "group", columns: &GROUP_COLUMNS, row: group };
            groups.print(limit, client, screen).await
        }
        Command::Show { ids } => {
            for (index, id) in ids.iter().enumerate() {
                let response = client.send(&Request::get(["v1", "dead-letters", id])).await?;
                if index > 0 && !screen.is_json() {
                    screen.line("")?;
                }
                document(&response, screen, view::show)?;
            }
            Ok(Exit::Success)
        }
        Command::Archive(arguments) => archive(arguments, "archive", "archived", client, screen).await,
        Command::Unarchive(arguments) => archive(arguments, "unarchive", "unarchived", client, screen).await,
    }
}

fn group(group: &DeadLetterGroup, screen: Screen) -> Vec<Cell> {
    vec![
        Cell::new(group.count.to_string()),
        Cell::new(&group.destination),
        Cell::new(view::cause(&group.reason, group.status_code, group.error.as_deref(), group.answer.as_deref())),
        Cell::dim(screen.time(group.last_failed_at)),
        Cell::dim(&group.sample_id),
    ]
}

/// One request for each. What was done before a failure stays done, and is reported.
async fn archive(
    arguments: ArchiveArgs,
    verb: &str,
    done: &str,
    client: &Client,
    screen: Screen,
) -> Result<Exit, Failure> {
    let ArchiveArgs { ids, note } = arguments;
    let body = to_json(&Note { note })?;
    for (index, id) in ids.iter().enumerate() {
        let request = Request::post(["v1", "dead-letters", id, verb], body.clone());
        let response = client.send(&request).await.inspect_err(|_| {
            if index > 0 {
                screen.say(format_args!("{} {done}, then:", count(index as u64, "dead letter")));
            }
        })?;
        if screen.is_json() {
            screen.line(response.body.trim())?;
        } else {
            screen.line(format_args!("{id} {done}"))?;
        }
    }
    Ok(Exit::Success)
}
