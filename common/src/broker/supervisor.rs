//! The supervisor: runs a session with the broker again whenever it ends.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::BrokerFault;
use crate::{health::Component, retry::Delays};

/// The pause after a session has ended, before jitter. It doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: the process reconnects within seconds of the broker's return.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After a session that lasted this long, the pauses start over.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// One conversation with the broker, from connecting to the end.
pub trait Session: Send {
    /// Runs until `shutdown`, and reports on `component`. If `shutdown` is already requested, it only cleans
    /// up. State that must outlive a session lives in `self`.
    fn run(
        &mut self,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> impl Future<Output = Result<(), BrokerFault>> + Send;
}

/// Runs sessions until one ends without a fault, which only happens on `shutdown`.
///
/// # Errors
/// A fault that needs a person, if the first session ends with it: then the set-up is wrong, and should
/// be corrected at once. Later the same fault is logged and retried, because ending a running process
/// would not help.
pub async fn supervise(
    mut session: impl Session,
    component: Component,
    shutdown: CancellationToken,
) -> Result<(), BrokerFault> {
    let mut delays = Delays::endless(FIRST_PAUSE, LONGEST_PAUSE);
    let mut first = true;
    let mut last_message = String::new();
    loop {
        let started = Instant::now();
        let Err(fault) = session.run(&component, &shutdown).await else { return Ok(()) };
        if fault.needs_a_person() && first {
            return Err(fault);
        }
        first = false;
        if started.elapsed() >= GOOD_SESSION {
            delays = Delays::endless(FIRST_PAUSE, LONGEST_PAUSE);
            last_message.clear();
        }
        let message = fault.to_string();
        component.down(message.clone());
        let pause = delays.next_delay();
        // The same message again and again would bury everything else.
        if message == last_message {
            tracing::debug!(
                component = component.name(),
                fault = message,
                ?pause,
                "no session with the broker, trying again"
            );
        } else {
            tracing::warn!(
                component = component.name(),
                fault = message,
                ?pause,
                "no session with the broker, trying again"
            );
            last_message = message;
        }
        tokio::select! {
            // The next session cleans up, and logs what it leaves unfinished.
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
