//! What is asked of the harness by variables.

use std::env;

/// The variable's value; an empty one counts as absent.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}
