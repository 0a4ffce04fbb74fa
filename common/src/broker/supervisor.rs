//! Starting over: a session with the broker is run again, for ever, whatever ended it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::BrokerFault;
use crate::{health::Component, retry::Delays};

/// The pause after a session that ended, before jitter; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: a broker that is back is found within seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A session that lasted this long was a good one: the next pause is the first again.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// One conversation with the broker, from connecting to the end.
pub trait Session: Send {
    /// Runs until `shutdown`, and tells `component` when it is up; begun after `shutdown`, it only
    /// cleans up. State that must outlive a session lives in `self`.
    fn run(
        &mut self,
        component: &Component,
        shutdown: &CancellationToken,
    ) -> impl Future<Output = Result<(), BrokerFault>> + Send;
}

/// Runs sessions until one ends in good order, which only happens on `shutdown`.
///
/// # Errors
/// A fault that needs a person, when it is the first thing that the process meets: then it is a
/// mistake in the set-up and is best seen at once. Later the same fault is logged and tried again,
/// because ending a running process would help nobody.
pub async fn supervise(
    mut session: impl Session,
    component: Component,
    shutdown: CancellationToken,
) -> Result<(), BrokerFault> {
    let mut delays = Delays::endless(FIRST_PAUSE, LONGEST_PAUSE);
    let mut first = true;
    let mut last_words = String::new();
    loop {
        let started = Instant::now();
        let Err(fault) = session.run(&component, &shutdown).await else { return Ok(()) };
        if fault.needs_a_person() && first {
            return Err(fault);
        }
        first = false;
        if started.elapsed() >= GOOD_SESSION {
            delays = Delays::endless(FIRST_PAUSE, LONGEST_PAUSE);
            last_words.clear();
        }
        let words = fault.to_string();
        component.down(words.clone());
        let pause = delays.next(None).unwrap_or(LONGEST_PAUSE);
        // The same words again and again would bury everything else.
        if words == last_words {
            tracing::debug!(
                component = component.name(),
                fault = words,
                ?pause,
                "no session with the broker, trying again"
            );
        } else {
            tracing::warn!(
                component = component.name(),
                fault = words,
                ?pause,
                "no session with the broker, trying again"
            );
            last_words = words;
        }
        tokio::select! {
            // The session ends itself, and says what it leaves behind.
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
