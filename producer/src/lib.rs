//! The producer: an order in, an event out, the truth about it in between.
//!
//! In the order of the flow: [`http`] parses or refuses, [`intake`] accepts (a [`fingerprint`] recognises a
//! request that is repeated), the [`store`] commits, the [`outbox`] hands over, the [`relay`] publishes, the [`ledger`] records what became of it, and a [`waker`] publishes
//! what has waited. Where it
//! could not be delivered, the [`collector`] stores the dead letter and a [`redrive`] sends it again;
//! where it was lost on the way, [`reconcile`] finds it. [`views`] show it, and [`watch`] tells those
//! who wait for it; [`pending`] measures how far each destination is behind; [`upkeep`] removes it when it is old and done. [`doctor`] is what the doctor
//! looks at. [`app`] wires them by [`config`].

mod http;
mod intake;
mod fingerprint;
mod outbox;
mod relay;
mod ledger;
mod waker;
mod collector;
mod redrive;
mod reconcile;
mod views;
mod watch;
mod pending;
mod upkeep;
mod doctor;
pub mod config;
mod app;
