//! What is wrong with the configuration, all of it at once.

use std::fmt;

/// One variable that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The variable's name.
    pub variable: String,
    /// What is wrong and what is wanted. Never the value of a secret.
    pub detail: String,
}

/// Every fault found. Printed a line each, by variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the configuration cannot be used:")?;
        for Fault { variable, detail } in &self.0 {
            writeln!(f, "  {variable}: {detail}")?;
        }
        write!(f, "set it in the environment or by its flag; --help lists them all")
    }
}

impl std::error::Error for Faults {}
