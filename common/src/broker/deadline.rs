//! Deadlines: no step of a conversation with the broker waits longer than this.

use std::time::Duration;

use tokio::time::timeout;

use super::BrokerFault;

/// How long a step of a conversation with the broker may take: connect, open, declare.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take until a session stands.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long saying goodbye may take, at the very end of a drain.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// All that it takes until a session stands, with a deadline over its many steps.
pub(super) async fn opened<T>(
    doing: &'static str,
    future: impl Future<Output = Result<T, BrokerFault>>,
) -> Result<T, BrokerFault> {
    let overdue = Err(BrokerFault::Overdue { doing, seconds: OPEN_TIMEOUT.as_secs() });
    timeout(OPEN_TIMEOUT, future).await.unwrap_or(overdue)
}

/// One step of a conversation, with its deadline.
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
