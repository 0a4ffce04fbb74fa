//! Serving HTTP: the only module of this crate that knows the web framework.

mod operations;
mod server;

pub use operations::operations;
pub use server::{Server, bind};
