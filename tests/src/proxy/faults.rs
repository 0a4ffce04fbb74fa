//! The faults of a connection, and waiting for them to end.

use tokio::sync::watch;

/// The faults at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// The number of this change.
    pub(super) change: u64,
    pub(super) refuse: bool,
    pub(super) black_hole: bool,
    pub(super) mute: bool,
    /// Connections from before this change are to be reset.
    pub(super) cut: u64,
    pub(super) end: bool,
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

/// Waits until data may pass in this direction.
pub(super) async fn pass(faults: &mut watch::Receiver<Faults>, direction: Direction) {
    let open = |faults: &Faults| !(faults.black_hole || (faults.mute && direction == Direction::ToServer));
    if faults.wait_for(open).await.is_err() {
        std::future::pending().await
    }
}

/// Waits until the connections that were open at this change are cut.
pub(super) async fn is_cut(mut faults: watch::Receiver<Faults>, born: u64) {
    // Without a proxy there is no connection to cut.
    if faults.wait_for(|faults| faults.cut > born).await.is_err() {
        std::future::pending().await
    }
}
