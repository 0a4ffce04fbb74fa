//! The limit on open files, which include sockets.
//!
//! On most systems the soft limit is 1,024, for programs that use `select`; the hard limit is what the
//! administrator allows. Tandem does not use `select`.

use rlimit::Resource;

/// Raises the soft limit to the hard one, and logs it.
pub fn raise() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "the limit on open files"),
        Err(fault) => tracing::warn!(%fault, limit = limit(), "cannot raise the limit on open files"),
    }
}

/// The soft limit, or the usual one if the system does not report it.
#[must_use]
pub fn limit() -> u64 {
    Resource::NOFILE.get_soft().unwrap_or(1_024)
}
