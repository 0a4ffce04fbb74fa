//! What the harness promises to the scenarios.

mod container;
mod desertion;
mod fake_api;
mod fault_proxy;
mod postgres;
mod private_node;
mod process;
mod system;
