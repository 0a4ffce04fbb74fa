//! Flags that several commands share, and the values they take.

mod filter;
mod limit;
mod value;

pub(crate) use self::{
    filter::FilterArgs,
    limit::LimitArgs,
    value::{DEFAULT_URL, file, time, url},
};
