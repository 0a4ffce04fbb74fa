//! What is wrong with the line, and waiting for it to change.

use tokio::sync::watch;

/// Everything that is wrong at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Weather {
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
pub(super) async fn pass(weather: &mut watch::Receiver<Weather>, direction: Direction) {
    let open = |weather: &Weather| !(weather.black_hole || (weather.mute && direction == Direction::ToServer));
    if weather.wait_for(open).await.is_err() {
        std::future::pending().await
    }
}

/// Waits for a cut of the connections that were there at this change.
pub(super) async fn is_cut(mut weather: watch::Receiver<Weather>, born: u64) {
    // Without a proxy there is no weather, and no connection to cut either.
    if weather.wait_for(|weather| weather.cut > born).await.is_err() {
        std::future::pending().await
    }
}
