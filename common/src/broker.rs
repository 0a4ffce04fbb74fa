//! RabbitMQ: the one place that knows the AMQP client.
//!
//! [`topology`] names and declares everything that exists on the broker, [`connection`] gets there,
//! [`publisher`] sends with confirms, also what was in a queue before, [`again`]; [`consumer`] takes
//! deliveries and settles them (each may be looked at whole, as a [`dead_letter`]), [`supervisor`]
//! starts over for ever when any of it ends, and [`inspection`] says what is wrong there.

pub mod again;
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
