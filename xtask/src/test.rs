//! `cargo xtask test`: all tests, with all they need.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Result, anyhow};
use clap::{Arg, ArgMatches, Command, value_parser};
use tests::{
    binaries,
    broker::{Broker, Installation},
    postgres::{self, Postgres, Syncs},
};

use crate::cargo::cargo;

const AFTER_HELP: &str = "\
ARGS go to cargo test as they are, after --workspace --all-features:
  cargo xtask test shutdown            tests with this word in their name
  cargo xtask test --test it           the scenarios only
  cargo xtask test -- --nocapture      with what tests print, as they run

RabbitMQ is the one at AMQP_URL, if that is set. Else private nodes of an
installed rabbitmq-server. Else containers, where a Docker Engine answers.
Else, as root on Debian or Ubuntu, the package is installed.

Postgres is the one at TEST_DATABASE_URL, if that is set, whose user must be
allowed to create databases. Else private clusters of installed server
binaries. Else containers, where a Docker Engine answers. Else, as root on Debian or Ubuntu, the package is installed.";

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
    prepare_broker().await?;
    prepare_postgres().await?;
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

/// The tests start what RabbitMQ they need, from what is there. Only where nothing is, a broker is started once, which
/// installs what it takes and says so: in a test nobody would see that.
async fn prepare_broker() -> Result<()> {
    if std::env::var_os("AMQP_URL").is_some_and(|url| !url.is_empty()) {
        eprintln!("RabbitMQ: the one at AMQP_URL");
        return Ok(());
    }
    if Installation::find().is_none() {
        eprintln!("RabbitMQ: none is installed here; trying Docker, then Debian's package");
        drop(Broker::find_or_start(&binaries::target_directory()?.join("broker")).await?);
    }
    match Installation::find() {
        Some(_) => eprintln!("RabbitMQ: private nodes of the installed rabbitmq-server"),
        None => eprintln!("RabbitMQ: containers of our own"),
    }
    Ok(())
}

/// The same for the database: tests start clusters or containers from what is there, and where nothing is, it is
/// installed here.
async fn prepare_postgres() -> Result<()> {
    if std::env::var_os(postgres::VARIABLE).is_some_and(|url| !url.is_empty()) {
        eprintln!("Postgres: the one at {}", postgres::VARIABLE);
        return Ok(());
    }
    if postgres::Installation::find().is_none() {
        eprintln!("Postgres: none is installed here; trying Docker, then Debian's package");
        if let Err(none) = Postgres::find_or_start(&postgres::data()?, Syncs::Off).await {
            postgres::install().await.map_err(|no_package| anyhow!("{none:#};\n- apt-get: {no_package:#}"))?;
        }
    }
    match postgres::Installation::find() {
        Some(_) => eprintln!("Postgres: private clusters of the installed server"),
        None => eprintln!("Postgres: containers of our own"),
    }
    Ok(())
}
