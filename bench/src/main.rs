//! Measures what one order costs: release binaries, a private RabbitMQ and fake APIs, all on this machine. See
//! `docs/benchmark.md`.

mod options;
mod campaign;
mod conditions;
mod round;
mod raw_broker;
mod backlog;
mod syncs;
mod system;
mod load;
mod usage;
mod broker_messages;
mod report;
mod summary;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use self::options::Options;

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("error: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread for all: the driver is idle while the load generator works, and the fake APIs have a thread of their own.
fn run(options: Options) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let done = runtime.block_on(::tests::interrupt::or(campaign::run(options)));
    // After an interruption, do not wait for blocking calls.
    runtime.shutdown_background();
    done
}
