//! How many files this process may have open, sockets among them.
//!
//! The soft limit is 1,024 on most systems, for the sake of programs that use `select`; the hard one is
//! what the administrator allows. None of ours uses `select`.

use rlimit::Resource;

/// Raises the soft limit to the hard one, and says what it is.
pub fn raise() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "files that may be open"),
        Err(fault) => tracing::warn!(%fault, limit = limit(), "the limit on open files cannot be raised"),
    }
}

/// The soft limit; without an answer from the system, the usual one.
#[must_use]
pub fn limit() -> u64 {
    Resource::NOFILE.get_soft().unwrap_or(1_024)
}
