//! `tandem dead`: what could not be delivered, one by one and by cause, and putting it aside.

mod view;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

pub(crate) use self::view::{DeadLetter, cause};
use crate::{
    args::Filter,
    client::{Client, Request, read},
    ending::{Ending, Failure},
    order::{Extent, said},
    output::{Cell, Column, Screen, Table, count},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List dead letters
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        extent: Extent,
    },
    /// Count dead letters by destination and cause
    Groups {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        extent: Extent,
    },
    /// Show dead letters with body, headers and every attempt
    Show {
        /// The dead letter's id
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Put dead letters aside: nothing is to be done about them
    Archive(Aside),
    /// Take dead letters back that were put aside
    Unarchive(Aside),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Aside {
    /// The dead letter's id
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Why, for whoever looks later
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Dead letters of one destination and one cause.
#[derive(Debug, Deserialize)]
struct Group {
    destination: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    status_code: Option<u16>,
    #[serde(default)]
    error: Option<String>,
    count: u64,
    #[serde(default)]
    last_failed_at: Option<jiff::Timestamp>,
    #[serde(default)]
    sample_id: Option<String>,
}

/// Does what the command says.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: Command, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    match command {
        Command::List { filter, extent } => list(&filter.query(), extent, client, screen).await,
        Command::Groups { filter, extent } => groups(&filter.query(), extent, client, screen).await,
        Command::Show { ids } => {
            for (index, id) in ids.iter().enumerate() {
                let answer = client.ask(&Request::get(["v1", "dead-letters", id])).await?;
                if screen.is_json() {
                    screen.line(answer.body.trim())?;
                    continue;
                }
                if index > 0 {
                    screen.line("")?;
                }
                view::show(&answer.read()?, screen)?;
            }
            Ok(Ending::Done)
        }
        Command::Archive(aside) => put_aside(&aside, "archive", "archived", client, screen).await,
        Command::Unarchive(aside) => put_aside(&aside, "unarchive", "taken back", client, screen).await,
    }
}

async fn list(query: &[(&str, String)], extent: Extent, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let mut table = Table::new(view::COLUMNS);
    let mut listed = 0;
    let pages = client.pages(&["v1", "dead-letters"], query, extent.limit(), |items| {
        listed += items.len();
        if screen.is_json() {
            return Ok(items.iter().try_for_each(|item| screen.line(item))?);
        }
        let letters: Vec<DeadLetter> = items.iter().map(|item| read(item.get())).collect::<Result<_, _>>()?;
        let rows: Vec<_> = letters.iter().map(|letter| view::row(letter, screen)).collect();
        Ok(table.rows(screen, &rows)?)
    });
    let more = pages.await?;
    said(screen, listed, more, "dead letter");
    Ok(Ending::Done)
}

async fn groups(query: &[(&str, String)], extent: Extent, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let mut table = Table::new([
        Column::number("COUNT"),
        Column::new("DESTINATION"),
        Column::squeezed("CAUSE"),
        Column::new("LAST"),
        Column::new("SAMPLE"),
    ]);
    let mut listed = 0;
    let pages = client.pages(&["v1", "dead-letters:groups"], query, extent.limit(), |items| {
        listed += items.len();
        if screen.is_json() {
            return Ok(items.iter().try_for_each(|item| screen.line(item))?);
        }
        let groups: Vec<Group> = items.iter().map(|item| read(item.get())).collect::<Result<_, _>>()?;
        let rows: Vec<_> = groups
            .iter()
            .map(|group| {
                vec![
                    Cell::new(group.count.to_string()),
                    Cell::new(&group.destination),
                    Cell::new(cause(group.reason.as_deref(), group.status_code, group.error.as_deref())),
                    Cell::dim(group.last_failed_at.map(|at| screen.time(at)).unwrap_or_default()),
                    Cell::dim(group.sample_id.as_deref().unwrap_or_default()),
                ]
            })
            .collect();
        Ok(table.rows(screen, &rows)?)
    });
    let more = pages.await?;
    said(screen, listed, more, "group");
    Ok(Ending::Done)
}

/// One request each: whatever was done before a refusal stays done, and is said.
async fn put_aside(aside: &Aside, verb: &str, done: &str, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let body = match &aside.note {
        Some(note) => json!({"note": note}),
        None => json!({}),
    };
    for (index, id) in aside.ids.iter().enumerate() {
        let request = Request::post(["v1", "dead-letters", id, verb], body.to_string());
        let answer = client.ask(&request).await.inspect_err(|_| {
            if index > 0 {
                screen.say(format_args!("{} {done}, then:", count(index as u64, "dead letter")));
            }
        })?;
        if screen.is_json() {
            screen.line(answer.body.trim())?;
        } else {
            screen.line(format_args!("{id} {done}"))?;
        }
    }
    Ok(Ending::Done)
}
