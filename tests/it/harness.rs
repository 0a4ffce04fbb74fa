//! What the harness guarantees to the scenarios.

mod durability;
mod leftovers;

mod process;
mod fake_api;
mod fault_proxy;
mod private_node;
mod postgres;
mod container;
mod system;
