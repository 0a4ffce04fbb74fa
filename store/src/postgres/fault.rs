//! What the server's faults mean.

use std::error::Error as _;

use tokio_postgres::{Error, error::SqlState};

use crate::fault::{Fault, Remedy};

impl From<Error> for Fault {
    fn from(fault: Error) -> Self {
        let Some(reported) = fault.as_db_error() else {
            // A fault that the server did not report leaves the connection in an unknown state.
            let cause = fault.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            return Self::new(Remedy::Reconnect, format!("{fault}{cause}"));
        };
        let code = reported.code();
        let remedy = match code.code() {
            _ if [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code) => {
                Remedy::Repeat
            }
            // Shut down or starting up; too many connections; a transaction that was left idle.
            "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "25P03" => Remedy::Reconnect,
            class if class.starts_with("08") => Remedy::Reconnect,
            _ => Remedy::None,
        };
        // The detail of the server's message can hold data; the message does not.
        Self::new(remedy, format!("{} ({})", reported.message(), code.code()))
    }
}
