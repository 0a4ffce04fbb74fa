//! A timer that may be off.

use tokio::time::{Instant, sleep_until};

/// Waits until `at`, or forever if there is no such time.
///
/// Cancellation safe.
pub async fn at(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
