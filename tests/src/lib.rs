//! The harness: a whole Tandem for one test, and the parts it is made of.
//!
//! A [`system::System`] is a set of [`process`]es between a [`broker`], a database (of [`postgres`], or a file), and two
//! [`fake_api`]s, with a fault [`proxy`] wherever a test puts one. Everything started here ends with the process that
//! started it, however that ends.
//!
//! Without the feature `harness` only the fake API is left, whose binary goes into the image.

#[cfg(feature = "harness")]
pub mod system;
#[cfg(feature = "harness")]
pub mod process;
#[cfg(feature = "harness")]
pub mod binaries;
#[cfg(feature = "harness")]
pub mod log;
#[cfg(feature = "harness")]
pub mod metrics;
#[cfg(feature = "harness")]
pub mod usage;

pub mod order;
pub mod fake_api;
#[cfg(feature = "harness")]
pub mod proxy;

#[cfg(feature = "harness")]
pub mod broker;
#[cfg(feature = "harness")]
pub mod queues;
#[cfg(feature = "harness")]
pub mod postgres;
#[cfg(feature = "harness")]
pub mod server;

#[cfg(feature = "harness")]
pub mod leash;
#[cfg(feature = "harness")]
pub mod interrupt;
#[cfg(feature = "harness")]
pub mod ports;
#[cfg(feature = "harness")]
pub mod url;
#[cfg(feature = "harness")]
pub mod http;
pub mod waiting;

#[cfg(feature = "harness")]
mod command;
mod lock;
