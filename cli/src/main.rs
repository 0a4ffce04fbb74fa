//! `tandem`, the operator's command line: Tandem's HTTP API, for people and scripts.
//!
//! In the order of a command's life: [`args`] are read, the [`client`] asks the API (a [`problem`] is its refusal,
//! [`sse`] its live stream), a noun — [`order`], [`dead_letter`], [`redrive`], [`doctor`] — makes sense of the answer,
//! [`output`] and [`progress`] show it, and [`ending`] becomes the exit code.

mod args;
mod client;
mod problem;
mod sse;
mod order;
mod dead_letter;
mod redrive;
mod doctor;
mod output;
mod progress;
mod ending;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = args::read();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => {
            eprintln!("tandem: cannot start the runtime: {fault}");
            return ExitCode::FAILURE;
        }
    };
    ending::exit(runtime.block_on(args::run(cli)))
}
