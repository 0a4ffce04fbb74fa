//! `cargo xtask bench`: builds for release and becomes the program `bench`.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command as Program, ExitCode},
};

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command, value_parser};
use tests::binaries;

use crate::cargo::cargo;

const AFTER_HELP: &str = "\
ARGS go to the benchmark as they are:
  cargo xtask bench --quick            a minute, to see that it works
  cargo xtask bench --store postgres   the same with orders in Postgres
  cargo xtask bench --binaries DIR     another build, side by side with this one
  cargo xtask bench -- --help          all of them
docs/benchmark.md says what is measured and how to read it.";

/// What is measured, unless `--binaries` names a directory.
const PRODUCT: [&str; 3] = ["producer", "worker-inventory", "worker-fulfillment"];

/// The command line.
pub(crate) fn command() -> Command {
    Command::new("bench")
        .about("Measures what an order costs: release binaries, private RabbitMQ, fake APIs, all on this machine")
        .after_help(AFTER_HELP)
        .arg(
            Arg::new("arguments")
                .value_name("ARGS")
                .help("Arguments of the benchmark")
                .value_parser(value_parser!(OsString))
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true),
        )
}

/// Builds, and replaces this process with the benchmark; returns only if the build fails.
///
/// # Errors
/// Cargo or the benchmark cannot be started.
pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let arguments: Vec<_> = matches.get_many::<OsString>("arguments").into_iter().flatten().collect();
    let elsewhere = arguments.iter().any(|argument| argument.to_string_lossy().starts_with("--binaries"));
    let product = if elsewhere { &[][..] } else { &PRODUCT };
    let packages = product.iter().chain(&["bench"]).flat_map(|package| ["--package", package]);
    let status = cargo(["build", "--release", "--bins"].into_iter().chain(packages)).await?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let bench = binaries::target_directory()?.join("release").join("bench");
    let fault = Program::new(&bench).args(arguments).exec();
    Err(fault).with_context(|| format!("cannot start {}", bench.display()))
}
