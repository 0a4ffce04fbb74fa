//! `cargo xtask test`: all tests, with all they need.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};
use tests::{
    broker::Broker,
    postgres::{Postgres, Syncs},
};

use crate::cargo::cargo;

const AFTER_HELP: &str = "\
ARGS go to cargo test as they are, after --workspace --all-features:
  cargo xtask test shutdown            tests with this word in their name
  cargo xtask test --test it           the scenarios only
  cargo xtask test -- --nocapture      with what tests print, as they run

RabbitMQ and Postgres are the ones at AMQP_URL and TEST_DATABASE_URL, if set;
the user of the latter must be allowed to create databases. Otherwise private
servers of the installed software, otherwise containers, if a Docker Engine
answers. Otherwise, as root on Debian or Ubuntu, the package is installed,
which is announced.";

/// What can be asked for.
pub(crate) fn command() -> Command {
    Command::new("test")
        .about("Runs all tests, with a RabbitMQ and a Postgres of their own")
        .after_help(AFTER_HELP)
        .arg(
            Arg::new("arguments")
                .value_name("ARGS")
                .help("Arguments of cargo test")
                .value_parser(value_parser!(OsString))
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true),
        )
}

/// Runs them.
///
/// # Errors
/// No RabbitMQ or no Postgres can be had, or cargo cannot be started.
pub(crate) async fn run(_: &ArgMatches) -> Result<ExitCode> {
    eprintln!("{}", Broker::prepare(()).await?);
    eprintln!("{}", Postgres::prepare(Syncs::Off).await?);
    // As they stand on the command line: the `--` between cargo's arguments and those of the tests counts.
    let given = std::env::args_os().skip(2);
    // Here, where its progress is seen: the tests build what they start, but say nothing of it.
    let status = cargo(["build", "--workspace", "--bins"]).await?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let all = ["test", "--workspace", "--all-features"].map(OsString::from);
    let status = cargo(all.into_iter().chain(given)).await?;
    // A number of a signal has no place in an exit code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
