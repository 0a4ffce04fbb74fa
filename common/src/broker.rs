//! RabbitMQ: the only module that knows the AMQP client.
//!
//! [`topology`] names and declares everything that exists on the broker, and [`connection`] connects to
//! it. A [`publisher`] sends with confirms: new messages, and dead letters again ([`redriven`]). A
//! [`consumer`] takes deliveries and settles them; it can also read everything that came with a
//! [`dead_letter`]. The [`supervisor`] starts a session again whenever one ends, and [`inspection`]
//! finds out what is wrong on the broker.

pub mod redriven;
pub mod connection;
pub mod consumer;
pub mod dead_letter;
pub mod delivery;
pub mod depth;
pub mod fault;
mod greeting;
pub mod inspection;
pub mod publisher;
pub mod supervisor;
mod table;
pub mod topology;
mod deadline;

pub use connection::{Broker, check_url};
pub use fault::BrokerFault;
