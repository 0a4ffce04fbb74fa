//! Time that moves only when a test says so.

use std::{
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use tokio::time::advance;

/// Holds the paused clock of a test. By itself a paused clock jumps to the next deadline whenever the
/// runtime is idle, and that it is while the store's threads work.
pub(super) struct Clock {
    _held: Sender<()>,
}

impl Clock {
    pub(super) fn hold() -> Self {
        let (held, released) = channel();
        // The clock does not jump while a blocking task runs; this one runs until the sender is dropped.
        #[expect(clippy::disallowed_methods, reason = "the end of the test joins it")]
        drop(tokio::task::spawn_blocking(move || released.recv()));
        Self { _held: held }
    }

    pub(super) async fn pass(&self, seconds: u64) {
        advance(Duration::from_secs(seconds)).await;
    }
}
