//! Calls the fulfillment API for every order.

use std::process::ExitCode;

fn main() -> ExitCode {
    common::worker::main::<worker_fulfillment::Fulfillment>()
}
