//! The harness: a whole Tandem for one test, and the parts it is made of.
//!
//! In reading order: a [`system::System`] is [`process`]es of ours between a [`broker`], a database of [`postgres`] if
//! wanted, and two [`fake_api`]s, with a fault [`proxy`] wherever one is wanted. Everything started here ends with the
//! process that started it, however that ends.

pub mod binaries;
pub mod broker;
pub mod fake_api;
pub mod http;
pub mod leash;
pub mod log;
pub mod metrics;
pub mod order;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod queues;
pub mod system;
pub mod usage;
pub mod waiting;

mod apt;
mod command;
mod environment;
mod lock;
