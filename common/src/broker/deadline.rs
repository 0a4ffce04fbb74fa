//! Deadlines: how long each exchange with the broker may take.

use std::time::Duration;

use tokio::time::timeout;

use super::BrokerFault;

/// How long one step may take: connecting, opening a channel, declaring a queue.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long opening a session may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long closing may take, at the very end of a drain.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Opening a session, with one deadline over its many steps.
pub(super) async fn opened<T>(
    doing: &'static str,
    future: impl Future<Output = Result<T, BrokerFault>>,
) -> Result<T, BrokerFault> {
    let overdue = Err(BrokerFault::Overdue { doing, seconds: OPEN_TIMEOUT.as_secs() });
    timeout(OPEN_TIMEOUT, future).await.unwrap_or(overdue)
}

/// One step, with its deadline.
pub(super) async fn step<T>(
    doing: &'static str,
    future: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerFault> {
    match timeout(STEP_TIMEOUT, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(fault)) => Err(BrokerFault::from_client(doing, &fault)),
        Err(_) => Err(BrokerFault::Overdue { doing, seconds: STEP_TIMEOUT.as_secs() }),
    }
}
