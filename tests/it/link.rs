//! The shared broker behind a fault proxy.

use anyhow::Result;
use tests::{
    broker::{address, shared, through},
    proxy::FaultProxy,
};

/// A proxy in front of the shared broker, and the broker's URL through it.
pub(crate) async fn link() -> Result<(FaultProxy, String)> {
    let broker = shared().await?;
    let proxy = FaultProxy::start(&address(broker.amqp_url())?)?;
    let url = through(broker.amqp_url(), proxy.address())?;
    Ok((proxy, url))
}
