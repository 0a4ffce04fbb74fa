//! Everything that is wrong with the configuration, reported at once.

use std::fmt;

/// One variable that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name of the variable.
    pub variable: String,
    /// What is wrong with it. Never the value of a secret.
    pub detail: String,
}

/// Every fault that was found, printed one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the configuration cannot be used:")?;
        for Fault { variable, detail } in &self.0 {
            writeln!(f, "  {variable}: {detail}")?;
        }
        write!(f, "set each in the environment or by its flag; --help lists all of them")
    }
}

impl std::error::Error for Faults {}
