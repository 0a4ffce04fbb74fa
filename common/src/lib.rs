//! What the services of Tandem share. This crate names no destination: a worker is this crate plus
//! one implementation of [`destination::Destination`].
//!
//! In the order of the flow: an [`order`] becomes an [`event`], whose id every [`idempotency`] key is
//! derived from; the [`broker`] carries it; a [`worker`] calls its [`destination`] through the
//! [`http_client`], retries with the delays of [`retry`], and reports the [`outcome`]. The rest is what
//! any process needs: [`config`], [`telemetry`], [`health`], [`doctor`], [`http`], [`shutdown`],
//! [`open_files`] and [`process`].

#![warn(missing_docs)]

pub mod order;
pub mod event;
pub mod idempotency;
pub mod trace_context;
pub mod broker;
pub mod worker;
pub mod destination;
pub mod origin;
pub mod http_client;
mod tls;
mod reach;
pub mod retry;
pub mod word;
pub mod outcome;
pub mod status;
pub mod config;
pub mod telemetry;
pub mod health;
pub mod timer;
pub mod doctor;
pub mod http;
pub mod shutdown;
pub mod open_files;
pub mod process;

#[cfg(feature = "testing")]
pub mod testing;
