//! Calls the inventory API for every order.

use std::process::ExitCode;

fn main() -> ExitCode {
    common::worker::main::<worker_inventory::Inventory>()
}
