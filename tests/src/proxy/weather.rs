//! What is wrong with the line, and waiting for it to change.

use std::time::Duration;

use tokio::sync::watch;

/// All that is wrong at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Weather {
    pub(super) change: u64,
    pub(super) refuse: bool,
    pub(super) black_hole: bool,
    pub(super) latency: Duration,
    /// Bytes of answers after which a connection is cut.
    pub(super) limit: Option<u64>,
    /// Connections from before this one are to be reset.
    pub(super) cut: u64,
    /// Since when the limit counts.
    pub(super) limit_set: u64,
    pub(super) end: bool,
}

/// Waits until something may pass, and says what else is wrong.
pub(super) async fn pass(weather: &mut watch::Receiver<Weather>) -> Weather {
    let open = weather.wait_for(|weather| !weather.black_hole).await.map(|weather| weather.clone());
    match open {
        Ok(weather) => weather,
        Err(_) => std::future::pending().await,
    }
}

pub(super) async fn is_cut(mut weather: watch::Receiver<Weather>, born: u64) {
    // Without a proxy there is no weather, and no connection to cut either.
    if weather.wait_for(|weather| weather.cut > born).await.is_err() {
        std::future::pending().await
    }
}
