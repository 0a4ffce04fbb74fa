//! What the harness promises to the scenarios.

mod container;
mod fake_api;
mod fault_proxy;
mod private_node;
mod process;
mod system;
