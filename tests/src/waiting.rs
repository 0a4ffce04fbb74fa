//! Polling for what has no event, and deadlines for what has.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long to wait for anything that should happen. Only a failure takes this long, so it is generous: the machine may
/// be busy.
pub const PATIENCE: Duration = Duration::from_secs(180);

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Polls until the check returns [`ControlFlow::Break`]; [`ControlFlow::Continue`] says what was seen instead.
///
/// Nothing else polls. If there is an event, wait for that.
///
/// # Errors
/// The deadline passed; the text has `what` was waited for and what was seen last.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut check: impl AsyncFnMut() -> ControlFlow<T, String>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    let mut seen = "nothing yet".to_owned();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, check()).await {
            Ok(ControlFlow::Break(found)) => return Ok(found),
            Ok(ControlFlow::Continue(instead)) => seen = instead,
            Err(_) => {}
        }
        // Not only by the timeout: a check that never waits is never cut off.
        if Instant::now() >= end {
            bail!("waited {deadline:?} in vain for {what}; last seen: {seen}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits for an event until the deadline.
///
/// # Errors
/// The deadline passed; the text has `what` was waited for and what `seen` returns.
pub async fn within<T>(
    what: &str,
    deadline: Duration,
    event: impl Future<Output = T>,
    seen: impl FnOnce() -> String,
) -> Result<T> {
    match tokio::time::timeout(deadline, event).await {
        Ok(value) => Ok(value),
        Err(_) => bail!("waited {deadline:?} in vain for {what}; last seen: {}", seen()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_that_never_waits_is_given_up_too() {
        let never = async || ControlFlow::<(), _>::Continue("it".to_owned());
        let waited = until("nothing", Duration::from_millis(5), never);
        let fault = waited.await.unwrap_err().to_string();
        assert!(fault.contains("nothing") && fault.contains("last seen: it"), "{fault}");
    }
}
