//! The recipes of this repository: `cargo xtask demo`, `test`, `bench`.

mod demo;
mod test;
mod bench;
mod cargo;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};
use tests::interrupt;

fn main() -> ExitCode {
    let matches = command().get_matches();
    match run(&matches) {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("error: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    Command::new("cargo xtask")
        .bin_name("cargo xtask")
        .about("The recipes of this repository. Each finds or starts a private RabbitMQ.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(demo::command())
        .subcommand(test::command())
        .subcommand(bench::command())
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")?;
    let done = runtime.block_on(interrupt::or(async {
        match matches.subcommand() {
            Some(("demo", matches)) => demo::run(matches).await,
            Some(("test", _)) => test::run().await,
            Some(("bench", matches)) => bench::run(matches).await,
            _ => Ok(ExitCode::FAILURE),
        }
    }));
    // After an interruption, do not wait for blocking calls.
    runtime.shutdown_background();
    done
}
