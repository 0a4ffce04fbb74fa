//! `tandem redrive`: plan, start and follow redrives.

mod selection;
mod plan;
mod start;
mod watch;
mod view;

use clap::Subcommand;

use self::{selection::SelectionArgs, start::StartArgs};
use crate::{
    client::{Client, Request},
    exit::{Exit, Failure},
    flags::LimitArgs,
    output::Screen,
    results::{List, document},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a redrive would send, and send nothing
    Plan(SelectionArgs),
    /// Show the plan, ask, and send
    Start(StartArgs),
    /// List redrives
    List {
        #[command(flatten)]
        limit: LimitArgs,
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
    /// Stop sending until the redrive is resumed
    Pause {
        /// The redrive's id
        id: String,
    },
    /// Resume a redrive that was paused or has stopped
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

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: Command, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    match command {
        Command::Plan(selection) => plan::run(&selection, client, screen).await,
        Command::Start(arguments) => start::run(&arguments, client, screen).await,
        Command::List { limit } => {
            let (path, query) = (&["v1", "redrives"], &[]);
            let redrives = List { path, query, noun: "redrive", columns: &view::COLUMNS, row: view::row };
            redrives.print(limit, client, screen).await
        }
        Command::Show { id } => show(&Request::get(["v1", "redrives", &id]), client, screen).await,
        Command::Watch { id } => watch::run(&id, client, screen).await,
        Command::Pause { id } => show(&control(&id, "pause"), client, screen).await,
        Command::Resume { id } => show(&control(&id, "resume"), client, screen).await,
        Command::Cancel { id } => show(&control(&id, "cancel"), client, screen).await,
    }
}

fn control<'a>(id: &'a str, verb: &'a str) -> Request<'a> {
    Request::post(["v1", "redrives", id, verb], "{}".to_owned())
}

/// Sends the request, and shows the redrive in its response.
async fn show(request: &Request<'_>, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    document(&client.send(request).await?, screen, view::show)?;
    Ok(Exit::Success)
}
