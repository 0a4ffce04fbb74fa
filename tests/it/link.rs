//! The shared broker behind a fault proxy.

use anyhow::Result;
use tests::{
    broker::shared,
    proxy::FaultProxy,
    url::{address, through},
};

/// A proxy in front of the shared broker, and the broker's URL through it.
pub(crate) async fn link() -> Result<(FaultProxy, String)> {
    let url = shared().await?.url();
    let proxy = FaultProxy::start(&address(&url)?)?;
    let through = through(&url, proxy.address())?;
    Ok((proxy, through))
}
