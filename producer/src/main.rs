//! Takes orders over HTTP, stores them, and publishes an event for each.

use std::process::ExitCode;

fn main() -> ExitCode {
    common::process::main::<producer::config::Config>()
}
