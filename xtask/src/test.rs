//! `cargo xtask test`: all tests, with the servers they need.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Arg, Command, value_parser};
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

/// The command line.
pub(crate) fn command() -> Command {
    Command::new("test")
        .about("Runs all tests, with a private RabbitMQ and a private Postgres")
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

/// Builds and tests.
///
/// # Errors
/// There is no RabbitMQ or no Postgres, or cargo cannot be started.
pub(crate) async fn run() -> Result<ExitCode> {
    eprintln!("{}", Broker::prepare(()).await?);
    eprintln!("{}", Postgres::prepare(Syncs::Off).await?);
    // From the command line itself: clap drops the `--` between the arguments of cargo and those of the tests.
    let given = std::env::args_os().skip(2);
    // The tests build what they start, but show no progress.
    let status = cargo(["build", "--workspace", "--bins"]).await?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let all = ["test", "--workspace", "--all-features"].map(OsString::from);
    let status = cargo(all.into_iter().chain(given)).await?;
    // Cargo ended by a signal has no exit code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
