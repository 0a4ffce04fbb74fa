//! The harness: a whole Tandem for one test, and the parts it is made of.
//!
//! In reading order: a [`system::System`] is [`process`]es of ours between a [`broker`], a database of [`postgres`] if
//! wanted, and two [`fake_api`]s, with a fault [`proxy`] wherever one is wanted. Everything started here ends with the
//! process that started it, however that ends.
//!
//! Without the feature `harness` only the fake API is left, whose binary goes into the image.

#[cfg(feature = "harness")]
pub mod binaries;
#[cfg(feature = "harness")]
pub mod broker;
pub mod fake_api;
#[cfg(feature = "harness")]
pub mod http;
#[cfg(feature = "harness")]
pub mod interrupt;
#[cfg(feature = "harness")]
pub mod leash;
#[cfg(feature = "harness")]
pub mod log;
#[cfg(feature = "harness")]
pub mod metrics;
pub mod order;
#[cfg(feature = "harness")]
pub mod ports;
#[cfg(feature = "harness")]
pub mod postgres;
#[cfg(feature = "harness")]
pub mod process;
#[cfg(feature = "harness")]
pub mod proxy;
#[cfg(feature = "harness")]
pub mod queues;
#[cfg(feature = "harness")]
pub mod server;
#[cfg(feature = "harness")]
pub mod system;
#[cfg(feature = "harness")]
pub mod url;
#[cfg(feature = "harness")]
pub mod usage;
pub mod waiting;

#[cfg(feature = "harness")]
mod command;
mod lock;
