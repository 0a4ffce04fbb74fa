//! What the harness guarantees to the scenarios.

mod container;
mod leftovers;
mod fake_api;
mod fault_proxy;
mod postgres;
mod private_node;
mod process;
mod system;
