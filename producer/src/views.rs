//! Views: what the store knows, as the API shows it. One place per resource.

pub(crate) mod order;
pub(crate) mod dead_letter;
pub(crate) mod redrive;
