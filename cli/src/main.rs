//! `tandem`, the operator's command line: Tandem's HTTP API, for people and scripts.
//!
//! In the order in which a command runs: [`args`] are parsed, with [`flags`] that commands share; a noun ([`order`],
//! [`dead_letter`], [`redrive`], [`doctor`]) makes requests through the [`client`], which reads a refusal as a
//! [`problem`] and a live stream as [`sse`]; [`results`], [`output`] and [`progress`] show what came back, and [`exit`]
//! turns it into the exit code.

mod args;
mod order;
mod dead_letter;
mod redrive;
mod doctor;
mod flags;
mod client;
mod problem;
mod sse;
mod results;
mod output;
mod progress;
mod exit;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => {
            eprintln!("tandem: cannot start the runtime: {fault}");
            return ExitCode::FAILURE;
        }
    };
    exit::exit(runtime.block_on(args::run(cli)))
}
