//! `cargo xtask bench`: what an order costs here, beside what the broker alone can do. See `docs/benchmark.md`.

mod broker_messages;
mod campaign;
mod conditions;
mod cpu;
mod load;
mod options;
mod parts;
mod raw_broker;
mod report;
mod syncs;
mod system;
mod table;
mod threads;

use std::{process::ExitCode, thread};

use anyhow::{Result, anyhow};
use clap::{ArgMatches, Command};

use self::options::Options;

/// The command line.
pub(crate) fn command() -> Command {
    options::arguments(Command::new("bench"))
        .about("Measures what an order costs: release build, private RabbitMQ, fake APIs, all on this machine")
        .args_conflicts_with_subcommands(true)
        .subcommand(Command::new("load").hide(true).about("The load generator and the fake APIs, as a child process"))
        .subcommand(Command::new("raw-broker").hide(true).about("The raw broker line, as a child process"))
}

/// Measures, prints and writes what was found; or is one of the child processes.
///
/// # Errors
/// Something cannot be built, started or measured.
pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some(("load", _)) => on_one_thread(load::main)?,
        Some(("raw-broker", _)) => on_one_thread(raw_broker::main)?,
        _ => return campaign::run(&Options::read(matches)?).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// The child processes have a runtime of their own, on one thread. The recipes' runtime has nothing else to do there.
fn on_one_thread(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    thread::spawn(work).join().map_err(|_| anyhow!("it panicked"))?
}
